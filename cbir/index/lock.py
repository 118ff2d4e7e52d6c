"""One at a time, by a lock that the operating system holds and frees with the process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from cbir.errors import CbirError, IndexLockedError, OperationFailedError

LOCK = "writer.lock"
HOLDER = "writer.json"


@contextmanager
def writer_lock(index: str) -> Iterator[None]:
    """Hold the index for writing.

    Raises IndexLockedError, naming the holder, where another process writes;
    OperationFailedError where the index folder cannot be written.
    """

    def busy() -> CbirError:
        return IndexLockedError(
            f"The index {index} is being written by {_holder(index)}. Wait until that is done, "
            "or stop it (what it committed is kept), then run this command again. "
            "Queries work meanwhile."
        )

    def refused(error: OSError) -> CbirError:
        return OperationFailedError(
            f"The index {index} cannot be written ({error.strerror}). Queries work; to change "
            "it, copy the folder to a place that can be written."
        )

    with file_lock(os.path.join(index, LOCK), busy, refused):
        _sign(index)
        yield


@contextmanager
def file_lock(
    path: str, busy: Callable[[], CbirError], refused: Callable[[OSError], CbirError]
) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is not there.

    Raises what `busy` makes where another process holds it, and what `refused` makes of an error of
    the operating system.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise busy() from None
    except OSError as error:
        raise refused(error) from None
    try:
        yield
    finally:
        lock.release()


def _sign(index: str) -> None:
    """Leave a note who holds the lock, for the message that others see."""
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", "seconds"),
    }
    try:
        with open(os.path.join(index, HOLDER), "w", encoding="utf-8") as file:
            json.dump(note, file)
    except OSError as error:
        raise OperationFailedError(
            f"The index {index} cannot be written ({error.strerror}). Free some space or change "
            "its permissions."
        ) from None


def _holder(index: str) -> str:
    try:
        with open(os.path.join(index, HOLDER), encoding="utf-8") as file:
            note = json.load(file)
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
