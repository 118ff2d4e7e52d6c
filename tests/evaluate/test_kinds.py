"""Index kinds side by side, on vectors whose neighbours a plain loop knows."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.evaluate.kinds import measure_kinds
from cbir.index import KINDS, Wanted
from tests.index.vectors import Truth, made


def test_every_kind_is_built_and_asked() -> None:
    truth = Truth(np.arange(5, 2005, dtype=np.int64), made(2000, 32))
    steps: list[int] = []
    rows = measure_kinds(truth, 32, list(KINDS), Wanted(recall=0.9), steps.append)
    assert [row.kind for row in rows] == list(KINDS) and steps == [1, 1, 1, 1]
    flat, hnsw, ivf, pq = rows
    assert flat.recall == 1 and flat.effort == 0 and flat.reached
    for row in rows:
        assert row.recall >= 0.9 and row.reached and row.queries == 200
        assert 0 < row.p50_ms <= row.p99_ms and row.at_once > 0 and row.build_s > 0
    assert flat.bytes_per_image == pytest.approx(4 * 32 + 8, rel=0.1)
    assert pq.bytes_per_image < ivf.bytes_per_image < hnsw.bytes_per_image


def test_kinds_that_take_more_images_are_left_out() -> None:
    truth = Truth(np.arange(300, dtype=np.int64), made(300, 16))
    rows = measure_kinds(truth, 16, list(KINDS), Wanted(recall=0.9))
    assert [row.kind for row in rows] == ["flat"]
    few = Truth(np.arange(5, dtype=np.int64), made(5, 16))
    (row,) = measure_kinds(few, 16, ["flat"], Wanted())
    assert row.queries == 0 and np.isnan(row.p50_ms) and np.isnan(row.at_once)
