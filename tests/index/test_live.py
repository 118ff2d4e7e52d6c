"""A live index of every kind against a plain loop: scores, filters, changes."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.index import KINDS, FaissIndex, LiveIndex
from cbir.index.live import FEW
from tests.index.vectors import Truth, live_of, made

APPROXIMATE = [name for name, kind in KINDS.items() if not kind.exact]


def truth_of(n: int) -> Truth:
    return Truth(np.arange(n, dtype=np.int64) * 2 + 1, made(n))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 3000])
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_scores_are_exact_cosines_and_hits_ordered(kind: str, n: int, k: int) -> None:
    truth = truth_of(n)
    live = live_of(kind, truth)
    for query in made(3, seed=1):
        scores, found = live.search(query[None], k)
        assert found.shape == (1, min(k, n)) and (found >= 0).all()
        exact = [float(truth.rows[i] @ query) for i in found[0].tolist()]
        assert np.allclose(scores[0], exact, atol=1e-6) and np.all(np.diff(scores[0]) <= 0)
        best = truth.best(query, min(k, n))
        assert np.mean(np.isin(best, found[0])) >= 0.9 if n else True
        if k >= n:
            assert found[0].tolist() == best.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1, 2, 3, 10, 30, 50, 500, 1500])
def test_k_hits_come_back_at_every_selectivity(kind: str, share: int) -> None:
    """Also where a graph with little effort would find nothing that is allowed."""
    truth = truth_of(6000)
    live = live_of(kind, truth)
    if kind != "flat":
        live.base.effort = 4
    allowed = truth.ids()[::share]
    gone = allowed[::3]
    keep = set(np.setdiff1d(allowed, gone).tolist())
    for excluded in (None, gone):
        left = set(allowed.tolist()) if excluded is None else keep
        scores, found = live.search(made(6, seed=2), 10, allowed, excluded)
        for query, row, line in zip(made(6, seed=2), found, scores, strict=True):
            hits = row[row >= 0].tolist()
            assert len(hits) == min(10, len(left)) and set(hits) <= left
            assert np.isneginf(line[row < 0]).all()
            if len(left) <= FEW:
                assert hits == truth.best(query, 10, left.__contains__).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_finds_the_nearest_of_a_small_share(kind: str) -> None:
    truth = truth_of(6000)
    live = live_of(kind, truth)
    allowed = truth.ids()[::5]  # all codes are looked at, and scored exactly
    right = []
    for query in made(10, seed=3):
        _, found = live.search(query[None], 10, allowed)
        right += np.isin(truth.best(query, 10, set(allowed.tolist()).__contains__), found).tolist()
    assert np.mean(right) >= (0.9 if kind == "pq" else 0.99)


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_seen_and_folded_in(kind: str) -> None:
    """Adds, changes and removals in random order, against a plain dictionary."""
    rng = np.random.default_rng(5)
    truth = truth_of(2500)
    live = live_of(kind, truth)
    for seq in range(1, 8):
        gone = rng.choice(truth.ids(), 20, replace=False)
        changed = rng.choice(np.setdiff1d(truth.ids(), gone), 20, replace=False)
        ids = np.concatenate((changed, 100_000 + 20 * seq + np.arange(20)))
        vectors = made(40, seed=100 + seq)
        for i in gone.tolist():
            del truth.rows[i]
        truth.rows.update(zip(ids.tolist(), vectors, strict=True))
        live.update(np.union1d(gone, changed), ids, vectors, seq)
        assert len(live) == len(truth.rows)
        if seq == 4:
            assert live.pending > 200
            live = LiveIndex(FaissIndex.from_bytes(live.folded().to_bytes()), seq, truth.vectors_of)
            assert live.pending == 0 and len(live) == len(truth.rows)
        for query in (made(1, seed=99), vectors[:1], vectors[-1:]):
            scores, found = live.search(query, 10)
            best = truth.best(query[0], 10)
            assert np.isin(best, found[0]).mean() >= 0.8 and found[0, 0] == best[0]
            assert np.allclose(scores[0], [truth.rows[i] @ query[0] for i in found[0].tolist()],
                               atol=1e-6)  # fmt: skip
        assert live.search(vectors[:1], 1)[1][0, 0] == ids[0]
    whole = live.merged()
    assert whole.exact and whole.ids().tolist() == truth.ids().tolist()
    assert np.allclose(whole.vectors(), truth.vectors_of(truth.ids()), atol=1e-6)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_copies_come_by_id_and_lost_features_are_left_out(kind: str) -> None:
    truth = truth_of(3000)
    copies = truth.ids()[[5, 500, 2500]]
    for image in copies.tolist():
        truth.rows[image] = truth.rows[int(copies[0])]
    live = live_of(kind, truth)
    query = truth.rows[int(copies[0])][None]
    assert live.search(query, 3)[1][0].tolist() == copies.tolist()
    del truth.rows[int(copies[1])]  # its feature went: `cbir check` says so
    found = live.search(query, 5)[1][0].tolist()
    assert found[:2] == copies[[0, 2]].tolist() and int(copies[1]) not in found


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_few_vectors_are_read_for_a_query(kind: str) -> None:
    truth = truth_of(3000)
    live = live_of(kind, truth)
    truth.read = 0
    live.search(made(1, seed=3), 10)
    assert truth.read <= (160 if kind == "pq" else 42)


def test_ids_that_are_excluded_twice_count_once() -> None:
    truth = Truth(np.arange(300, dtype=np.int64), made(300))
    for kind in KINDS:
        live = live_of(kind, truth)
        scores, ids = live.search(made(2, seed=4), 10, None, np.repeat(np.arange(5), 100))
        assert ids.shape == (2, 10) and (ids >= 5).all() and np.isfinite(scores).all()
