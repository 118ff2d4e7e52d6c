"""Several examples as one query, against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.query import combine

ROWS = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.5, 2, 3]])
def test_combine_is_the_weighted_mean_direction(weights: list[float] | None) -> None:
    used = weights or [1.0, 1.0, 1.0]
    total = [sum(w * float(row[j]) for w, row in zip(used, ROWS, strict=True)) for j in range(3)]
    length = math.sqrt(sum(x * x for x in total))
    assert np.allclose(combine(ROWS, weights), [[x / length for x in total]])


def test_vectors_that_cancel_give_zero() -> None:
    assert np.array_equal(combine(np.array([[1, 0], [-1, 0]], np.float32)), [[0, 0]])


@pytest.mark.parametrize("weights", [[1], [1, 1, 0], [1, 1, -1], [1, 1, float("nan")]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="weight: expected"):
        combine(ROWS, weights)
    with pytest.raises(UsageError, match="received none"):
        combine(ROWS[:0])
