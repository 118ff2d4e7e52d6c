"""Where labels of points go, so that none lies over another label or over a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ANGLES = [math.radians(a) for a in (0, 180, 45, 315, 135, 225, 90, 270, 22, 338, 158, 202, 67,
                                     293, 113, 247)]  # fmt: skip
_GAPS = (2.0, 6.0, 12.0, 20.0, 30.0, 42.0)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `left` < `right`, `low` < `high`."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: Box) -> bool:
        """Whether the two share an area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.low < other.high
            and other.low < self.high
        )

    def holds(self, other: Box) -> bool:
        """Whether the other one lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.low <= other.low
            and other.high <= self.high
        )


@dataclass(frozen=True, slots=True)
class Point:
    """A drawn point, its radius, and width and height of its label (0: it has none)."""

    x: float
    y: float
    radius: float
    width: float = 0.0
    height: float = 0.0

    @property
    def box(self) -> Box:
        """The square round the point."""
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius,
                   self.y + self.radius)  # fmt: skip


def place_labels(points: Sequence[Point], inside: Box) -> list[Box | None]:
    """A box for the label of each point, inside `inside`; None where there is no free place.

    The first points choose first; near places are tried before far ones. All in one unit.
    """
    taken = [point.box for point in points]
    found: list[Box | None] = []
    for point in points:
        made = _free(point, inside, taken) if point.width else None
        found.append(made)
        if made is not None:
            taken.append(made)
    return found


def _free(point: Point, inside: Box, taken: Sequence[Box]) -> Box | None:
    for gap in _GAPS:
        for angle in _ANGLES:
            x = point.x + math.cos(angle) * (point.radius + gap + point.width / 2)
            y = point.y + math.sin(angle) * (point.radius + gap + point.height / 2)
            box = Box(x - point.width / 2, y - point.height / 2, x + point.width / 2,
                      y + point.height / 2)  # fmt: skip
            if inside.holds(box) and not any(box.meets(other) for other in taken):
                return box
    return None
