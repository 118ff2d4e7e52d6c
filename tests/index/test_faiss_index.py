"""The exact index against a plain loop, with every filter and the smallest sizes."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.index import FaissIndex, LiveIndex
from cbir.types import Ids, Vectors


def unit(n: int, dims: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain(vectors: Vectors, ids: Ids, query: Vectors, k: int, keep: set[int]) -> list[int]:
    found = [
        (-float(np.dot(vectors[row].astype(np.float64), query)), int(ids[row]))
        for row in range(len(ids))
        if int(ids[row]) in keep
    ]
    return [i for _, i in sorted(found)[:k]]


@pytest.mark.parametrize("n", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("k", [1, 3, 200])
def test_search_agrees_with_a_plain_loop(n: int, k: int) -> None:
    vectors, ids = unit(n, 8), np.arange(n, dtype=np.int64) * 7 + 3
    index = FaissIndex(8)
    index.add(ids, vectors)
    for query in unit(3, 8, seed=1):
        scores, found = index.search(query[None], k)
        assert found.shape == (1, min(k, n))
        assert found[0].tolist() == plain(vectors, ids, query, k, set(ids.tolist()))
        assert np.all(np.diff(scores[0]) <= 0)


def test_filters_apply_inside_the_search() -> None:
    vectors, ids = unit(200, 8), np.arange(200, dtype=np.int64)
    index = FaissIndex(8)
    index.add(ids, vectors)
    query = unit(1, 8, seed=2)
    allowed = np.array([3, 50, 99, 150, 199], np.int64)
    excluded = np.array([50, 7], np.int64)
    _, found = index.search(query, 4, allowed, excluded)
    assert found[0].tolist() == plain(vectors, ids, query[0], 4, {3, 99, 150, 199})
    _, found = index.search(query, 10, None, excluded)
    assert found[0].tolist() == plain(vectors, ids, query[0], 10, set(range(200)) - {50, 7})
    scores, found = index.search(query, 10, allowed)
    assert (found[0] >= 0).sum() == 5 and np.isneginf(scores[0, 5:]).all()
    _, found = index.search(query, 3, np.empty(0, np.int64))
    assert found[0].tolist() == [-1, -1, -1]


def test_equal_scores_come_by_id() -> None:
    index = FaissIndex(4)
    index.add(np.array([9, 2, 5], np.int64), np.repeat(unit(1, 4), 3, axis=0))
    assert index.search(unit(1, 4), 3)[1][0].tolist() == [2, 5, 9]


def test_removed_ids_do_not_come_back_and_bytes_round_trip() -> None:
    index = FaissIndex(8)
    index.add(np.arange(10, dtype=np.int64), unit(10, 8))
    assert index.remove(np.array([3, 4, 77], np.int64)) == 2
    again = FaissIndex.from_bytes(index.to_bytes())
    assert sorted(again.ids().tolist()) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert np.array_equal(again.vectors(), index.vectors())
    with pytest.raises(ValueError):
        FaissIndex.from_bytes(b"no index")


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected shape \(2, 8\)"):
        FaissIndex(8).add(np.arange(2, dtype=np.int64), unit(2, 7))


def test_live_index_equals_one_built_at_once() -> None:
    """Adds, changes and removals in random order, against a plain dictionary."""
    rng = np.random.default_rng(5)
    truth = {i: v for i, v in enumerate(unit(30, 6))}
    base = FaissIndex(6)
    base.add(np.array(list(truth), np.int64), np.array(list(truth.values())))
    live = LiveIndex(base, 0)
    for seq in range(1, 12):
        gone = rng.choice(list(truth), 2, replace=False)
        changed = rng.choice([i for i in truth if i not in gone], 2, replace=False)
        new = np.array([100 + 2 * seq, 101 + 2 * seq])
        rows = np.concatenate((changed, new)).astype(np.int64)
        vectors = unit(4, 6, seed=seq)
        live.update(gone.astype(np.int64), rows, vectors, seq)
        for i in gone:
            del truth[int(i)]
        truth.update(zip(rows.tolist(), vectors, strict=True))
        assert len(live) == len(truth)
        ids, stacked = np.array(list(truth), np.int64), np.array(list(truth.values()))
        query = unit(1, 6, seed=99)
        _, found = live.search(query, 7)
        assert found[0].tolist() == plain(stacked, ids, query[0], 7, set(truth))
        some = np.array(sorted(truth)[::2], np.int64)
        _, found = live.search(query, 5, some, some[:1])
        assert found[0].tolist() == plain(stacked, ids, query[0], 5, set(some[1:].tolist()))
        whole = live.merged()
        assert whole.ids().tolist() == sorted(truth)
        assert np.allclose(whole.vectors(), [truth[i] for i in sorted(truth)])
    assert len(live.base) == 30
