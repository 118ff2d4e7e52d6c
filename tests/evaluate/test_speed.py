"""Timing: what is counted, what is not, and what is left alone. How fast it is, nobody tests."""

from __future__ import annotations

import math
from pathlib import Path

import faiss
import numpy as np
import pytest

from cbir.evaluate.speed import ALONE, embedding_lap, search_costs
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder


def test_a_lap_embeds_after_a_warm_up_and_skips_what_is_broken(photos: Path) -> None:
    files = sorted(str(f) for f in photos.rglob("*.png"))
    (photos / "a" / "00.png").write_bytes(b"")
    grid, seen = GridEmbedder(), []
    found = embedding_lap(files, grid, seen.append)
    assert found.images_per_second > 0 and found.alone_ms > 0
    assert sum(seen) == 12  # a broken file is progress too
    assert grid.seen == 11 + 11 + min(11, ALONE)  # warm-up, timed, alone
    nothing = embedding_lap(files[:1], grid)
    assert math.isnan(nothing.images_per_second) and math.isnan(nothing.alone_ms)


def test_a_slow_embedder_is_not_waited_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(GridEmbedder):
        def features(self, pixels: Pixels) -> Vectors:
            clock[0] += 4.0 * len(pixels)
            return super().features(pixels)

    clock = [0.0]
    monkeypatch.setattr("cbir.evaluate.speed.time.perf_counter", lambda: clock[0])
    files = sorted(str(f) for f in photos.rglob("*.png")) * 20
    slow = Slow()
    found = embedding_lap(files, slow)
    assert found.images_per_second == pytest.approx(1 / 4)
    assert found.alone_ms == pytest.approx(4000)
    assert slow.seen == 32 + 32 + 3  # one batch is enough, and three alone


def test_search_costs_by_kind_and_size() -> None:
    rng = np.random.default_rng(0)
    sets = []
    for dims in (4, 64):
        rows = rng.normal(size=(300, dims)).astype(np.float32)
        sets.append(("flat", rows[:5], rows))
    threads = faiss.omp_get_max_threads()
    small, large = search_costs(sets, 2)
    assert faiss.omp_get_max_threads() == threads
    # four bytes a number, eight the id, and the head of the file
    assert 4 * 4 + 8 <= small.bytes_per_image < 4 * 4 + 9
    assert 4 * 64 + 8 <= large.bytes_per_image < 4 * 64 + 9
    assert small.ms > 0 and large.ms > 0
    (empty,) = search_costs([("flat", rng.normal(size=(0, 4)).astype(np.float32), sets[0][2])], 1)
    assert math.isnan(empty.ms)
