"""Writing a result file so that it is either whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable

from cbir.errors import OperationFailedError, UsageError
from cbir.present.names import visible


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Put `content` at `path`; see `write_parts`."""
    write_parts(path, (content,))


def write_parts(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """Put bytes that come in parts at `path`: written beside it, flushed to disk, renamed over it.

    A symbolic link is followed; an existing file keeps its permissions; a pipe or a device is
    written to directly. Raises UsageError where the folder is missing or the path is a folder, and
    OperationFailedError where the system refuses; then what was there before is untouched.
    """
    target = os.path.realpath(path)
    shown = visible(os.fspath(path))
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise UsageError(f"Expected the name of a file to write; received the folder {shown}.")
    if not os.path.isdir(folder):
        raise UsageError(
            f"Cannot write {shown}: expected an existing folder; {visible(folder)} is none. "
            "Create it first, or choose another place."
        )
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb", buffering=0) as device:
                for part in parts:
                    device.write(part)
        else:
            _replace(target, parts)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OperationFailedError(
            f"Cannot write {shown}: {reason}. Check the free space and the permissions of "
            f"{visible(folder)}, or choose another place."
        ) from error


def _replace(target: str, parts: Iterable[bytes]) -> None:
    temporary = os.path.join(os.path.dirname(target), f".cbir-{secrets.token_hex(8)}.part")
    mode = stat.S_IMODE(os.stat(target).st_mode) if os.path.exists(target) else None
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:  # an interrupt too must leave no part file
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
