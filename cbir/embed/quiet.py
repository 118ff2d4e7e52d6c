"""TensorFlow's start without its talk: notes of its C++ parts that no setting turns off.

They are written to file descriptor 2 before TensorFlow has read any setting. So that descriptor is
led into a temporary file for a moment, and everything that is not such a note is written on.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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

    Does nothing where the user set TF_CPP_MIN_LOG_LEVEL to 0, or where there is no descriptor 2.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0" or _depth:
        yield
        return
    with _one:
        try:
            saved = os.dup(2)
        except OSError:
            yield
            return
        _depth.append(1)
        with tempfile.TemporaryFile() as held:
            sys.stderr.flush()
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
                _depth.pop()
                held.seek(0)
                _write_on(held.read())


def _write_on(data: bytes) -> None:
    kept = b"".join(line for line in data.splitlines(keepends=True) if not _NOISE.match(line))
    if kept:
        os.write(2, kept)
