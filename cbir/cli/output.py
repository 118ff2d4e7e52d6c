"""Results to stdout, all else to stderr; errors to exit codes. The only place that prints.

Exit codes: 0 done · 1 nothing found (only with --fail-empty) · 2 usage · 3 index missing or not
compatible · 4 finished with skipped files (only with --strict) · 5 the operation failed ·
6 `check` found faults, `adopt` refused · 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbir.types import Failure

EXIT_EMPTY = 1
EXIT_SKIPPED = 4
EXIT_FAILED = 5
EXIT_FAULTS = 6
EXIT_REFUSED = 6
EXIT_INTERRUPTED = 130


def result(text: str) -> None:
    """Text to stdout, as UTF-8 whatever the terminal's encoding is set to."""
    result_bytes(text.encode("utf-8", "backslashreplace"))


def result_bytes(data: bytes) -> None:
    """Bytes to stdout."""
    if sys.stdout is None:  # closed by the caller: `>&-`
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader went away (`cbir query ... | head`): it has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        quit_with(0)


def note(text: str) -> None:
    """A line to stderr."""
    line = text.rstrip("\n") + "\n"
    sys.stderr.buffer.write(line.encode("utf-8", "backslashreplace"))
    sys.stderr.flush()


def failures(found: Iterable[Failure], limit: int | None = 20) -> None:
    """The list of files that could not be used, to stderr."""
    from cbir.present.text import failures_table

    listed = list(found)
    if listed:
        note(failures_table(listed, limit))


def quit_with(code: int) -> None:
    """End the command with an exit code."""
    import click

    raise click.exceptions.Exit(code)


class Bar:
    """Progress on a terminal: counts, images/s and time left; nothing where stderr is a file.

    It also sees to it that an interrupt is not lost: one that comes while Python runs a destructor
    (TensorFlow has many) is dropped there, so each step of the progress raises it again.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._interrupted = False
        self._former: Any = None

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins."""
        self.close()
        self._check()
        if total:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=name, unit=" images", disable=None, file=sys.stderr,
                dynamic_ncols=True, mininterval=0.2, smoothing=0.05,
                bar_format="{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_fmt}, {remaining} left",
            )  # fmt: skip

    def advance(self, steps: int = 1) -> None:
        """So many images are done."""
        self._check()
        if self._bar is not None:
            self._bar.update(steps)

    def _check(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def close(self) -> None:
        """The stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
        if kind is None:
            self._check()


def exit_code(error: BaseException) -> int:
    """The exit code of an error, after its message went to stderr."""
    from cbir.errors import CbirError

    if isinstance(error, CbirError):
        note(f"Error: {error}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        note("Interrupted. What was finished is kept; run the same command again to go on.")
        return EXIT_INTERRUPTED
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        what = error.strerror or str(error)
        note(f"Error: {name}{what}. Free space or change permissions, then try again.")
        return EXIT_FAILED
    raise error
