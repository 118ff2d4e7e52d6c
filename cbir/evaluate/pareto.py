"""The Pareto front: systems that no other one beats in everything at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

SAME_SPEED = 0.05
"""Speeds that differ by less than this share count as equal: a busy machine shows such
differences where there are none."""


def pareto_front(points: Sequence[tuple[float, float, float]]) -> list[bool]:
    """Which of (quality, speed, size) no other point dominates.

    Larger quality and speed are better, smaller size is. A point dominates another one that it
    is no worse than in all three and better than in at least one; speeds within `SAME_SPEED` are
    equal. A point with a NaN is never on the front, and dominates none.
    """
    known = [not any(map(math.isnan, point)) for point in points]
    return [
        known[i] and not any(known[j] and _dominates(points[j], points[i])
                             for j in range(len(points)))
        for i in range(len(points))
    ]  # fmt: skip


def _dominates(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    slower = one[1] < other[1] * (1 - SAME_SPEED)
    faster = other[1] < one[1] * (1 - SAME_SPEED)
    worse = one[0] < other[0] or slower or one[2] > other[2]
    better = one[0] > other[0] or faster or one[2] < other[2]
    return better and not worse
