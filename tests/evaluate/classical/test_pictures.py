"""Picture by picture: in order, matrix products on one thread, and only meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from cbir.evaluate.classical.pictures import each, one_thread


def blas_threads() -> list[int]:
    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]


def test_in_order_and_with_one_thread_meanwhile() -> None:
    before = blas_threads()
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    assert each(lambda image: int(image[0, 0, 0]), pixels) == list(range(40))
    assert each(lambda image: 1, pixels[:0]) == []
    with one_thread():
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_a_failure_comes_through_and_threads_come_back() -> None:
    before = blas_threads()

    def fails(image: np.ndarray) -> int:
        raise ValueError("as it must")

    with pytest.raises(ValueError, match="as it must"):
        each(fails, np.zeros((3, 1, 1, 3), np.uint8))
    assert blas_threads() == before
