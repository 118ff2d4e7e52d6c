"""The Pareto front by hand, and against its definition on random points."""

from __future__ import annotations

import math

import numpy as np

from cbir.evaluate import pareto_front
from cbir.evaluate.pareto import SAME_SPEED


def test_by_hand() -> None:
    """Quality, speed, size: best quality; fastest; smallest; worse than the first; a twin."""
    points = [(0.9, 10, 100), (0.5, 100, 100), (0.5, 10, 10), (0.8, 10, 100), (0.9, 10, 100)]
    assert pareto_front([(q, float(s), float(b)) for q, s, b in points]) == [
        True, True, True, False, True,
    ]  # fmt: skip


def test_speeds_that_differ_little_are_equal() -> None:
    assert pareto_front([(0.9, 96, 1), (0.8, 100, 1)]) == [True, False]
    assert pareto_front([(0.9, 94, 1), (0.8, 100, 1)]) == [True, True]
    # a chain in which each is nearly as fast as the next: somebody is always left
    chain = [(0.1 * i, 100 * 0.97**i, 1.0) for i in range(9)]
    assert pareto_front(chain)[-1]


def test_what_was_not_measured_is_never_on_it() -> None:
    nan = math.nan
    assert pareto_front([(nan, 5, 5), (0.1, nan, 1), (0.1, 1, 9)]) == [False, False, True]
    assert pareto_front([]) == []


def test_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = [(float(q), float(s), float(b)) for q, s, b in rng.integers(1, 6, (12, 3))]
        for (quality, speed, size), on in zip(points, pareto_front(points), strict=True):
            beaten = False
            for q, s, b in points:
                as_good = q >= quality and s >= speed * (1 - SAME_SPEED) and b <= size
                better = q > quality or speed < s * (1 - SAME_SPEED) or b < size
                beaten = beaten or (as_good and better)
            assert on != beaten
