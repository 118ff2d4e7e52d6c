"""Building an index of a planned kind from stored vectors, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from cbir.index.exact import Top
from cbir.index.faiss_index import FaissIndex, one_thread
from cbir.index.live import LiveIndex
from cbir.index.planner import IndexPlan, Wanted
from cbir.index.tuning import DEEPER, held_out, query_ms, tune
from cbir.types import Ids, Vectors

QUERIES = 500
"""Held-out vectors that an effort is tuned on, at most."""


class Source(Protocol):
    """Where the vectors come from."""

    def ids(self) -> Ids:
        """All ids, int64 (n,), rising."""
        ...

    def vectors_of(self, ids: Ids) -> Vectors:
        """The vectors of rising ids, float32 (m, d); NaN where one is not there."""
        ...

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All ids with their vectors, some thousands at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """What was made and measured; kept beside its generation, and what `cbir info` shows.

    kind, asked       the kind, and what was asked for
    reason            why that kind
    lists             coarse centroids
    effort, factor    of a search: efSearch or nprobe; candidates for each hit
    target, recall    index recall@10: asked for, measured (1 where it is exact)
    queries           held-out vectors that this was measured on
    ms                median of one query for ten hits, scored exactly, on one core
    bytes_per_vector  of the file; 0: it is not written yet
    images            how many it was built from
    """

    kind: str
    asked: str
    reason: str
    lists: int
    effort: int
    factor: int
    target: float
    recall: float
    queries: int
    ms: float | None
    bytes_per_vector: float
    images: int

    @classmethod
    def from_dict(cls, data: Any) -> Made | None:
        """The inverse of `dataclasses.asdict`; None where it cannot be read."""
        try:
            return cls(**data)
        except TypeError:
            return None


def build(source: Source, dims: int, plan: IndexPlan, wanted: Wanted, seed: int = 0) -> tuple[
    FaissIndex, Made
]:  # fmt: skip
    """Make the index, tune it, measure it.

    Beside the index itself, the training sample and one block are held. Where the kind is not
    exact, some vectors are held out until the effort of searches is found on them.
    """
    ids = source.ids()
    store = FaissIndex(dims, plan.kind, plan.lists)
    sample = held_out(ids, QUERIES, seed)
    vectors = _there(source.vectors_of(sample))
    truth = Top(vectors, DEEPER)
    if not store.exact:
        train_on = np.random.default_rng(seed + 1).choice(ids, plan.training, replace=False)
        store.train(_there(source.vectors_of(np.sort(train_on))))
    for block, rows in source.blocks():
        if store.exact:
            store.add(block, rows)
            continue
        kept = np.isin(block, sample, invert=True)
        truth.add(block[kept], rows[kept])
        store.add(block[kept], rows[kept])
    effort, factor, recall, queries = 0, 1, 1.0, 0
    if not store.exact:
        found = tune(store, truth, wanted.recall)
        effort, factor, recall, queries = found.effort, found.factor, found.recall, found.queries
        store.add(sample, source.vectors_of(sample))
    ms = _ms(LiveIndex(store, 0, source.vectors_of, factor), vectors)
    return store, Made(
        plan.kind, wanted.kind, plan.reason, plan.lists, effort, factor, wanted.recall,
        round(recall, 4), queries, ms, 0.0, len(store),
    )  # fmt: skip


def folded(live: LiveIndex, source: Source, made: Made, seed: int = 0) -> tuple[FaissIndex, Made]:
    """A live index with its changes as one store, and what is to be said of it.

    An exact one is timed again. Of another, what was measured when it was built stays, with the
    number of images then: it is built again before that is far from true.
    """
    if not live.base.exact:
        return live.folded(), made
    store = live.merged()
    vectors = _there(source.vectors_of(held_out(store.ids(), QUERIES, seed)))
    return store, replace(made, images=len(store), ms=_ms(LiveIndex(store, 0), vectors))


def _ms(live: LiveIndex, queries: Vectors) -> float | None:
    with one_thread():
        ms = query_ms(lambda query: live.search(query, 10), queries)
    return None if np.isnan(ms) else round(ms, 3)


def _there(vectors: Vectors) -> Vectors:
    return vectors[~np.isnan(vectors).any(axis=1)]
