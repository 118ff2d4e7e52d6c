"""Labels of points: inside, off the points, off each other, the first ones first."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cbir.present.labels import Box, Point, place_labels

FRAME = Box(0, 0, 300, 200)


@pytest.mark.parametrize("n", [1, 2, 10, 40])
def test_no_label_lies_over_another_or_over_a_point(n: int) -> None:
    rng = np.random.default_rng(n)
    points = [
        Point(float(x), float(y), 4, 14, 9)
        for x, y in zip(rng.uniform(10, 290, n), rng.uniform(10, 190, n), strict=True)
    ]
    found = place_labels(points, FRAME)
    placed = [box for box in found if box is not None]
    assert len(placed) >= 0.9 * n
    for box in placed:
        assert FRAME.holds(box) and box.right - box.left == pytest.approx(14)
        assert not any(box.meets(point.box) for point in points)
    assert not any(a.meets(b) for a, b in combinations(placed, 2))


def test_twins_have_labels_of_their_own_and_a_column_is_labelled() -> None:
    column = [Point(150, 20 + 3 * i, 4, 14, 9) for i in range(20)]
    placed = [box for box in place_labels([Point(150, 100, 4, 14, 9)] * 2 + column, FRAME) if box]
    assert len(placed) >= 20
    assert not any(a.meets(b) for a, b in combinations(placed, 2))


def test_the_first_stands_nearest_and_what_has_no_room_is_left_out() -> None:
    near, none, far = place_labels(
        [Point(150, 100, 4, 14, 9), Point(20, 20, 4), Point(152, 100, 4, 14, 9)], FRAME
    )
    assert none is None and near is not None and far is not None
    assert place_labels([Point(5, 5, 4, 14, 9)], Box(0, 0, 10, 10)) == [None]
    assert place_labels([], FRAME) == []


def test_boxes() -> None:
    box = Box(0, 0, 2, 2)
    assert box.meets(Box(1, 1, 3, 3)) and box.meets(Box(0.5, 0.5, 1, 1))
    assert not box.meets(Box(2, 0, 3, 1)) and not box.meets(Box(0, 3, 1, 4))  # sides may touch
    assert box.holds(Box(0, 0, 2, 2)) and not box.holds(Box(0, 0, 2, 2.1))
