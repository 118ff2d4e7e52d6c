"""Picture by picture over all cores, for descriptors that are made of many small steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from cbir.machine import cores
from cbir.types import Pixels

Made = TypeVar("Made")


def each(function: Callable[[Pixels], Made], pixels: Iterable[Pixels]) -> list[Made]:
    """`function` of every picture, in their order, in threads (NumPy works outside Python's lock).

    Matrix products are kept to one thread each meanwhile.
    """
    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(function, pixels))


def one_thread() -> AbstractContextManager[object]:
    """While it is open, a matrix product is one thread's work.

    The second thread of a small product waits for the first most of the time, and on a busy
    machine it costs tenfold.
    """
    found: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return found


@functools.cache
def _blas() -> Any:
    """What limits the threads of NumPy's matrix products."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
