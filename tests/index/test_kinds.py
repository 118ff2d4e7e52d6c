"""Every kind: sizes from none on, removal, bytes, thorough searches, damaged bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import faiss
import numpy as np
import pytest

from cbir.config import IndexKind
from cbir.index import KINDS, FaissIndex, read_derived, write_derived
from tests.index.vectors import Truth, index_of, made

APPROXIMATE = [name for name, kind in KINDS.items() if not kind.exact]


def truth_of(n: int, seed: int = 0) -> Truth:
    return Truth(np.arange(n, dtype=np.int64) * 3 + 5, made(n, seed=seed))


def test_every_kind_can_be_asked_for() -> None:
    assert set(get_args(IndexKind)) == {"auto", *KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 2000])
def test_the_nearest_are_found_whatever_the_size(kind: str, n: int) -> None:
    truth = truth_of(n)
    store = index_of(kind, truth)
    assert (len(store), store.kind, store.dims) == (n, kind, 24)
    assert sorted(store.ids().tolist()) == truth.ids().tolist()
    share = []
    for query in made(5, seed=1):
        scores, found = store.search(query[None], 40)
        assert found.shape == (1, min(40, n)) and (found >= 0).all()
        assert np.all(np.diff(scores[0]) <= 0)
        share += np.isin(truth.best(query, 10), found[0]).tolist()
    assert np.mean(share or [1.0]) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_filters_hold_inside_the_search(kind: str) -> None:
    truth = truth_of(2000)
    store, query = index_of(kind, truth), made(4, seed=2)
    ids = truth.ids()
    for allowed, excluded in (
        (ids[::3], None), (None, ids[::2]), (ids[:50], ids[:10]), (ids[::2], ids[:900]),
        (None, ids[3:5]), (ids[:3], None),
    ):  # fmt: skip
        for scale in (1.0, 3.0, math.inf):
            scores, found = store.search(query, 10, allowed, excluded, scale)
            hits = found[found >= 0]
            assert allowed is None or np.isin(hits, allowed).all()
            assert excluded is None or not np.isin(hits, excluded).any()
            assert np.isneginf(scores[found < 0]).all()
        left = np.setdiff1d(
            ids if allowed is None else allowed, [] if excluded is None else excluded
        )
        assert ((found >= 0).sum(axis=1) == min(10, len(left))).all()  # the last one saw all


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_thorough_search_sees_every_code(kind: str) -> None:
    truth = truth_of(1500)
    store = index_of(kind, truth)
    store.effort = 1
    some = truth.ids()[::5]
    _, found = store.search(made(3, seed=3), 300, some, None, scale=math.inf)
    assert all(sorted(row) == some.tolist() for row in found.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_removed_ids_do_not_come_back_and_bytes_round_trip(kind: str, tmp_path: Path) -> None:
    truth = truth_of(600)
    store = index_of(kind, truth)
    gone = truth.ids()[10:60]
    assert store.remove(np.append(gone, 4711)) == 50 and store.remove(gone[:3]) == 0
    truth.rows = {i: v for i, v in truth.rows.items() if i not in set(gone.tolist())}
    back = made(1, seed=9)
    store.add(gone[:1], back)  # an id that comes again, with another vector
    truth.rows[int(gone[0])] = back[0]
    file = write_derived(str(tmp_path), 1, 1, store)
    again = read_derived(file)
    assert (again.kind, again.effort, len(again), again.dead) == (
        kind, store.effort, 551, 50 if kind == "hnsw" else 0)  # fmt: skip
    assert sorted(again.ids().tolist()) == truth.ids().tolist()
    query = made(3, seed=4)
    for one in (store, again):
        _, found = one.search(query, 551, scale=math.inf)
        assert all(sorted(row) == truth.ids().tolist() for row in found.tolist())
        _, found = one.search(query, 20)
        assert not np.isin(gone[1:], found).any() and (found >= 0).all()
        assert one.search(back, 1)[1][0, 0] == gone[0]
    assert np.array_equal(again.search(query, 20)[1], store.search(query, 20)[1])
    assert again.remove(truth.ids()) == 551 and len(again) == 0
    assert again.search(query, 3)[1].shape == (3, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_stand_for_their_vectors(kind: str) -> None:
    truth = truth_of(800)
    store = index_of(kind, truth)
    store.remove(truth.ids()[:5])
    ids, rows = store.ids(), store.vectors()
    cosines = (rows * truth.vectors_of(ids)).sum(1) / np.linalg.norm(rows, axis=1)
    assert rows.shape == (795, 24) and cosines.min() > {"flat": 0.99999, "pq": 0.4}.get(kind, 0.99)


def test_other_bytes_are_refused() -> None:
    for name in ("HNSW8", "IVF4,Flat", "PQ4"):
        other = faiss.index_factory(8, name, faiss.METRIC_INNER_PRODUCT)
        with pytest.raises(ValueError, match="expected an index of the kinds flat"):
            FaissIndex.from_bytes(faiss.serialize_index(other).tobytes())


def test_small_batches_of_exact_queries_are_products_and_the_threshold_comes_back() -> None:
    truth = truth_of(500)
    store, queries = index_of("flat", truth), made(40, seed=5)
    before = faiss.cvar.distance_compute_blas_threshold
    _, together = store.search(queries, 5)
    assert faiss.cvar.distance_compute_blas_threshold == before
    alone = [store.search(query[None], 5)[1][0].tolist() for query in queries]
    assert together.tolist() == alone
