"""Which kind for which gallery: a table, and what stays as it is."""

from __future__ import annotations

import pytest

from cbir.index import KINDS, Wanted, plan, replan
from cbir.index.planner import LEAST, bytes_per_vector, lists_for

GB = 1 << 30


@pytest.mark.parametrize(
    ("n", "dims", "wanted", "kind"),
    [
        (0, 256, Wanted(memory=GB), "flat"),
        (1, 256, Wanted(memory=1), "flat"),
        (LEAST - 1, 4096, Wanted(memory=1, latency_ms=0.001), "flat"),
        (100_000, 256, Wanted(memory=8 * GB), "flat"),
        (390_000, 256, Wanted(memory=8 * GB), "flat"),
        (400_000, 256, Wanted(memory=8 * GB), "hnsw"),
        (100_000, 256, Wanted(memory=8 * GB, latency_ms=5), "hnsw"),
        (100_000, 256, Wanted(memory=8 * GB, latency_ms=5, recall=1), "flat"),
        (80_000, 1280, Wanted(memory=8 * GB), "hnsw"),
        (10_000_000, 256, Wanted(memory=8 * GB), "hnsw"),
        (10_000_000, 256, Wanted(memory=3 * GB), "ivf"),
        (10_000_000, 256, Wanted(memory=1 * GB), "pq"),
        (10_000_000, 256, Wanted(memory=8 * GB, latency_ms=1e6), "hnsw"),
        (10_000_000, 256, Wanted(memory=16 * GB, latency_ms=1e6), "flat"),
        (5000, 256, Wanted("pq", memory=8 * GB), "pq"),
        (5000, 256, Wanted("ivf", memory=1), "ivf"),
        (LEAST, 8, Wanted("hnsw"), "hnsw"),
        (10_000_000, 1280, Wanted("flat", memory=1), "flat"),
    ],
)
def test_the_kind(n: int, dims: int, wanted: Wanted, kind: str) -> None:
    found = plan(n, dims, wanted)
    assert found.kind == kind and found.reason and found.build_s >= 0
    assert found.bytes_per_vector == bytes_per_vector(kind, n, dims)
    assert (found.lists > 0) == (kind in ("ivf", "pq"))
    assert found.training <= min(n, 262_144)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flat"])
def test_too_few_for_a_kind_that_was_asked_for_is_said(kind: str) -> None:
    found = plan(LEAST - 1, 64, Wanted(kind))
    assert found.kind == "flat"
    assert found.reason == f"{kind} was asked for; it takes 1,000 images, there are 999"


def test_a_kind_stays_until_the_gallery_is_a_quarter_off() -> None:
    wanted = Wanted(memory=64 * GB)
    edge = next(n for n in range(380_000, 400_000, 10) if plan(n, 256, wanted).kind == "hnsw")
    assert replan("flat", int(edge * 1.2), 256, wanted).kind == "flat"
    assert replan("flat", int(edge * 1.3), 256, wanted).kind == "hnsw"
    assert replan("hnsw", int(edge * 0.85), 256, wanted).kind == "hnsw"
    assert replan("hnsw", int(edge * 0.75), 256, wanted).kind == "flat"


def test_memory_is_half_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbir.index.planner.memory", lambda: 6 * GB)
    assert Wanted().budget == 3 * GB and Wanted(memory=5).budget == 5
    monkeypatch.setattr("cbir.index.planner.memory", lambda: 0)
    assert Wanted().budget == 2 * GB


@pytest.mark.parametrize(("n", "lists"), [(0, 1), (1, 1), (100, 6), (10_000, 400), (10**6, 4000)])
def test_lists(n: int, lists: int) -> None:
    assert lists_for(n) == lists


def test_kinds_take_less_and_less_memory() -> None:
    sizes = [bytes_per_vector(kind, 10**6, 256) for kind in KINDS]
    assert sizes == sorted(sizes, reverse=True) and sizes[1] <= 410
