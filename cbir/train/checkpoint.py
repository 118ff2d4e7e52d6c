"""Where a training stands, on disk after every epoch: a kill costs the epoch in flight.

A folder beside the result, with `state.json` and plain NumPy arrays (no pickle). Each state is
written under a new name, flushed, and then named by `state.json`, which is replaced at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbir.errors import OperationFailedError, UsageError
from cbir.index import file_lock

VERSION = 1
STATE = "state.json"
LOCK = "lock"
_OURS = re.compile(r"lock|state\.json(\.new)?|(epoch|best)-\d{4,}\.npz")

Array = NDArray[Any]


@dataclass(slots=True)
class Progress:
    """What is known after some epochs: figures of each, which was best, and since when it is."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    best_score: float = float("-inf")

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """How long they took."""
        return sum(figures.get("seconds", 0.0) for figures in self.history)


class Checkpoint:
    """The state of one training in a folder. `key` says of which: recipe, data and base."""

    def __init__(self, folder: str, key: Mapping[str, Any]) -> None:
        self.folder, self.key = folder, json.loads(json.dumps(key))

    def load(self) -> tuple[Progress, dict[str, list[Array]]] | None:
        """Progress and the arrays by name ("learner", "optimizer", "best"); None where there is no
        state. Raises UsageError where the state is of another training, or the folder holds
        anything else."""
        self.check_folder()
        try:
            with open(os.path.join(self.folder, STATE), encoding="utf-8") as file:
                state = json.load(file)
            if state["version"] != VERSION:
                raise ValueError(state["version"])
            self._check(state["key"])
            progress = Progress(state["history"], state["best"], state["best_score"])
            names = {"last": state["last"], "best": state["best_file"]}
            arrays = {
                **_read(os.path.join(self.folder, names["last"])),
                **_read(os.path.join(self.folder, names["best"])),
            }
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"{self.folder} holds the state of a training that cannot be read ({error}). "
                "Remove that folder to begin anew."
            ) from None
        return progress, arrays

    def there(self) -> bool:
        """Whether a state is there, of whatever training."""
        return STATE in self._names()

    def check_folder(self) -> None:
        """Nobody's files are removed for a training's state."""
        others = sorted(name for name in self._names() if not _OURS.fullmatch(name))
        if others:
            raise UsageError(
                f"{self.folder} is where the state of this training would be kept; expected a "
                f"folder that is new or empty; it holds {others[0]}. Name another result."
            )

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except OSError:  # not there, or no folder: said when it is written to
            return []

    def _check(self, key: Mapping[str, Any]) -> None:
        if key == self.key:
            return
        differ = sorted(name for name in {*key, *self.key} if key.get(name) != self.key.get(name))
        raise UsageError(
            f"{self.folder} holds an unfinished training with other settings ({', '.join(differ)} "
            "differ). Run it to its end with those, remove that folder to begin anew, or name "
            "another result."
        )

    def save(self, progress: Progress, arrays: Mapping[str, Sequence[Array]]) -> None:
        """Write the state; `arrays` hold "best" only where the last epoch is the best one."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            last = f"epoch-{progress.epochs:04d}.npz"
            best = f"best-{progress.best + 1:04d}.npz"
            _write(os.path.join(self.folder, last),
                   {k: v for k, v in arrays.items() if k != "best"})  # fmt: skip
            if "best" in arrays:
                _write(os.path.join(self.folder, best), {"best": arrays["best"]})
            state = {
                "version": VERSION, "key": self.key, "history": progress.history,
                "best": progress.best, "best_score": progress.best_score, "last": last,
                "best_file": best,
            }  # fmt: skip
            path = os.path.join(self.folder, STATE)
            with open(path + ".new", "w", encoding="utf-8") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path + ".new", path)
            self._unlink({LOCK, STATE, last, best})
        except OSError as error:
            raise _refused(self.folder, error) from None

    def remove(self) -> None:
        """The training is over: its state goes, and the folder where nothing else is in it."""
        with contextlib.suppress(OSError):
            self._unlink(set())
            os.rmdir(self.folder)

    def _unlink(self, kept: Collection[str]) -> None:
        for name in self._names():
            if name not in kept and _OURS.fullmatch(name):
                os.unlink(os.path.join(self.folder, name))


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """While it lasts, no other process trains with this folder; made where it is not there, and
    gone afterwards where no state was left in it.

    Raises UsageError where another one does, OperationFailedError where the disk refuses.
    """
    checkpoint = Checkpoint(folder, {})
    checkpoint.check_folder()
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from None

    def busy() -> UsageError:
        return UsageError(
            f"Another training writes its state to {folder} just now; expected one at a time. "
            "Wait until it has ended, or name another result."
        )

    ours = False
    try:
        with file_lock(os.path.join(folder, LOCK), busy, lambda error: _refused(folder, error)):
            ours = True
            yield
    finally:
        if ours and not checkpoint.there():
            checkpoint.remove()


def _refused(folder: str, error: OSError) -> OperationFailedError:
    return OperationFailedError(
        f"The training's state cannot be written to {folder} ({error.strerror or error}). Free "
        "space, then run the same command: it goes on."
    )


def _write(path: str, parts: Mapping[str, Sequence[Array]]) -> None:
    named = {f"{name}.{i:05d}": a for name, some in parts.items() for i, a in enumerate(some)}
    with open(path, "wb") as file:
        np.savez(file, **named)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _read(path: str) -> dict[str, list[Array]]:
    made: dict[str, list[Array]] = {}
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        for name in sorted(arrays.files):
            made.setdefault(name.rpartition(".")[0], []).append(arrays[name])
    return made
