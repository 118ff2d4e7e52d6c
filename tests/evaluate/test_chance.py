"""What random rankings get, against all rankings of a small gallery."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from cbir.evaluate import average_precision, chance, map_at_r, recall_at_k
from cbir.evaluate.ground_truth import Query, Truth


def positions(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


def truth(query: Query, gallery: int) -> Truth:
    names = tuple(str(i) for i in range(gallery + 1))
    return Truth("t", names, ("",) * len(names), positions(*range(gallery)), (query,))


@pytest.mark.parametrize(("n", "r"), [(1, 1), (4, 1), (5, 2), (6, 3), (5, 5)])
def test_against_every_order(n: int, r: int) -> None:
    found = chance(truth(Query(n, positions(*range(r)), positions()), n))
    flags = [np.array(order) < r for order in permutations(range(n))]
    assert found["recall@1"] == pytest.approx(np.mean([recall_at_k(f, 1) for f in flags]))
    assert found["recall@5"] == pytest.approx(np.mean([recall_at_k(f, 5) for f in flags]))
    assert found["mAP"] == pytest.approx(np.mean([average_precision(f, r) for f in flags]))
    assert found["MAP@R"] == pytest.approx(np.mean([map_at_r(f, r) for f in flags]))


def test_the_query_itself_and_junk_are_not_ranked() -> None:
    small = chance(truth(Query(3, positions(0, 1), positions()), 3))
    assert chance(truth(Query(4, positions(0, 1), positions(3), 4), 5)) == small
    nothing = chance(truth(Query(3, positions(), positions()), 3))
    assert all(math.isnan(value) for value in nothing.values())
