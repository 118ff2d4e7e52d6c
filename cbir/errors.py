"""Every error that cbir raises on purpose, in one tree.

    CbirError                        exit code 5
    ├── UsageError                   2   an argument does not fit
    ├── IndexMissingError            3   there is no index at that place
    ├── IndexIncompatibleError       3   the index was made by another embedder or a newer cbir
    ├── IndexLockedError             5   another process is writing the index
    ├── IndexDamagedError            5   the catalog or the embedder of an index cannot be read
    ├── ImageError                   5   one picture cannot be read; in a job it becomes a `Failure`
    ├── EmbedderError                5   an embedder cannot be built, loaded or run
    │   └── WeightsError             5   its weights are missing, unsafe or not the expected ones
    └── OperationFailedError         5   the disk is full, a file cannot be written, ...

A message says what was expected, what was received, and what to do. Only the command line turns
an error into an exit code.
"""

from __future__ import annotations

from typing import ClassVar


class CbirError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 5


class UsageError(CbirError):
    """An argument has a value that does not fit."""

    exit_code = 2


class IndexMissingError(CbirError):
    """No index exists at the given place."""

    exit_code = 3


class IndexIncompatibleError(CbirError):
    """The index exists, but was made by another embedder or by a newer cbir."""

    exit_code = 3


class IndexLockedError(CbirError):
    """Another process is writing this index."""


class IndexDamagedError(CbirError):
    """The catalog, or the embedder saved in the index, cannot be read."""


class ImageError(CbirError):
    """One picture cannot be read.

    `reason` is one line for people; a job stores it in a `Failure` and goes on. `passing` says that
    the file itself may be sound: it was not there, or could not be read just now.
    """

    def __init__(self, reason: str, path: str | None = None, passing: bool = False) -> None:
        self.reason = reason
        self.path = path
        self.passing = passing
        super().__init__(reason if path is None else f"{path}: {reason}")


class EmbedderError(CbirError):
    """An embedder cannot be built, loaded or run."""


class WeightsError(EmbedderError):
    """Weights are missing, are not the expected ones, or hold more than plain arrays."""


class OperationFailedError(CbirError):
    """The operating system refused: disk full, no permission, a file in the way."""
