"""Building, tuning and measuring each kind: what is said is true."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from cbir.index import KINDS, LiveIndex, Made, Wanted, build, plan
from cbir.index.exact import Top
from cbir.index.tuning import held_out, measured_recall, query_ms, tune
from tests.index.vectors import Truth, index_of, made

APPROXIMATE = [name for name, kind in KINDS.items() if not kind.exact]


def truth_of(n: int) -> Truth:
    return Truth(np.arange(n, dtype=np.int64) * 2 + 1, made(n))


@pytest.mark.parametrize("kind", ["auto", *KINDS])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 999, 4000])
def test_all_images_are_in_it_and_figures_are_there(kind: str, n: int) -> None:
    truth, wanted = truth_of(n), Wanted(kind)
    store, found = build(truth, 24, plan(n, 24, wanted), wanted)
    real = kind if n >= 1000 and kind != "auto" else "flat"
    assert (store.kind, found.kind, found.asked, found.images) == (real, real, kind, n)
    assert sorted(store.ids().tolist()) == truth.ids().tolist()
    assert (found.ms is None) == (n < 10)
    assert found.recall >= 0.98 and (found.effort > 0) == (real != "flat")
    assert found.queries == (0 if real == "flat" else 400)
    assert Made.from_dict(asdict(found)) == found and Made.from_dict({"kind": "flat"}) is None


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("recall", [0.6, 0.9, 0.99])
def test_the_recall_that_is_said_is_what_new_queries_get(kind: str, recall: float) -> None:
    truth, wanted = truth_of(6000), Wanted(kind, recall)
    store, found = build(truth, 24, plan(6000, 24, wanted), wanted)
    live = LiveIndex(store, 0, truth.vectors_of, found.factor)
    share = []
    for query in made(150, seed=50):
        _, hits = live.search(query[None], 10)
        share += np.isin(truth.best(query, 10), hits[0]).tolist()
    assert found.recall >= recall and abs(np.mean(share) - found.recall) < 0.04
    assert store.effort == found.effort


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_bisection_stops_at_the_least_effort_that_does(kind: str) -> None:
    whole = truth_of(5000)
    out = held_out(whole.ids(), 200, 0)
    queries = whole.vectors_of(out)
    rest = Truth(np.setdiff1d(whole.ids(), out), whole.vectors_of(np.setdiff1d(whole.ids(), out)))
    store, top = index_of(kind, rest), Top(queries, 64)
    for ids, vectors in rest.blocks():
        top.add(ids, vectors)
    plain = [rest.best(query, 10).tolist() for query in queries]
    assert top.ids[:, :10].tolist() == plain
    efforts = []
    for recall in (0.5, 0.9, 0.97):
        found = tune(store, top, recall)
        assert found.reached and found.recall >= recall and store.effort == found.effort
        assert found.recall == measured_recall(store, top, found.factor)
        efforts.append((found.factor, found.effort))
        if found.effort > 2:
            store.effort = int(found.effort / 1.25)
            assert measured_recall(store, top, found.factor) < recall + 0.01
    assert efforts == sorted(efforts)


def test_a_target_that_cannot_be_had_is_told() -> None:
    truth = truth_of(3000)
    store = index_of("pq", truth)
    top = Top(made(20, seed=4), 64)
    top.add(np.arange(10**6, 10**6 + 100), made(100, seed=5))  # nothing of it is in the store
    found = tune(store, top, 0.9)
    assert not found.reached and found.recall == 0 and found.effort == store.most


def test_copies_count_as_right_whichever_is_found() -> None:
    rows = np.repeat(made(1), 40, axis=0)
    truth = Truth(np.arange(40, dtype=np.int64), rows)
    top = Top(made(1), 64)
    top.add(truth.ids(), rows)
    store = index_of("flat", Truth(np.arange(20, 40, dtype=np.int64), rows[20:]))
    assert measured_recall(store, top, 2) == 1


def test_held_out_is_a_tenth_at_most_and_depends_on_the_ids_alone() -> None:
    ids = np.arange(200, dtype=np.int64)
    assert held_out(ids, 500, 3).tolist() == held_out(ids.copy(), 500, 3).tolist()
    assert len(held_out(ids, 500, 3)) == 20 and len(held_out(ids, 7, 3)) == 7
    assert held_out(ids[:9], 500, 0).tolist() == []


def test_a_time_without_queries_is_none() -> None:
    assert np.isnan(query_ms(lambda _: None, made(0)))
