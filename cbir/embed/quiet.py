"""TensorFlow's start without its talk: notes of its C++ parts that no setting turns off.

They are written to file descriptor 2 before TensorFlow has read any setting. So that descriptor is
led into a temporary file for a moment, and everything that is not such a note is written on. What
Python itself writes to `sys.stderr` (a download's progress, a warning) is not held back. The last
words of a process that dies meanwhile are lost: TF_CPP_MIN_LOG_LEVEL=0 shows them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, TextIO

_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|I0000 |W0000 |To enable the following instructions: "
    rb"|E0000 .*(cuda|CUDA|cuInit|cuDNN|cuBLAS|cuFFT|computation_placer)"
)
_one = threading.RLock()
_depth: list[int] = []


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back TensorFlow's notes while something is imported, built or first run.

    Does nothing where the user set TF_CPP_MIN_LOG_LEVEL to 0, where there is no descriptor 2, or
    no place for a temporary file.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0" or _depth:
        yield
        return
    with _one, ExitStack() as stack:
        with suppress(OSError):
            _hold_back(stack)
        yield


def _hold_back(stack: ExitStack) -> None:
    """Lead descriptor 2 into a file until the stack is left; OSError where that cannot be."""
    held = stack.enter_context(tempfile.TemporaryFile())
    saved = os.dup(2)
    stack.callback(os.close, saved)
    _flush()
    os.dup2(held.fileno(), 2)
    stack.callback(_release, held, saved)
    _depth.append(1)
    stack.callback(_depth.clear)
    stack.enter_context(_python_goes_on(saved))


def _release(held: IO[bytes], saved: int) -> None:
    _flush()
    os.dup2(saved, 2)
    held.seek(0)
    kept = b"".join(line for line in held if not _NOISE.match(line))
    with suppress(OSError):  # nobody reads it any more
        while kept:
            kept = kept[os.write(2, kept) :]


class _Stream:
    """Stands for a stream. Loggers made meanwhile keep it, so it must go on working afterwards."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def fileno(self) -> int:
        """The descriptor that outlives us; `stream`'s own is closed soon."""
        return 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _python_goes_on(saved: int) -> Iterator[None]:
    """Let `sys.stderr` write to where descriptor 2 led, if that is what it writes to."""
    own: TextIO = sys.stderr
    try:
        if own.fileno() != 2:
            raise OSError
    except (AttributeError, OSError, ValueError):  # None, without a descriptor, or closed
        yield
        return
    with open(saved, "w", 1, own.encoding, own.errors, closefd=False) as direct:
        stream: Any = _Stream(direct)
        sys.stderr = stream
        try:
            yield
        finally:
            stream.stream = own
            if sys.stderr is stream:
                sys.stderr = own


def _flush() -> None:
    stream: TextIO | None = sys.stderr
    with suppress(AttributeError, OSError, ValueError):
        stream.flush()  # type: ignore[union-attr]
