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
from cbir.index.tuning import DEEPER, Tuned, held_out, query_ms, tune
from cbir.index.vectors import VectorFile, write_vectors
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


def build(
    source: Source,
    dims: int,
    plan: IndexPlan,
    wanted: Wanted,
    seed: int = 0,
    vectors: str | None = None,
) -> tuple[FaissIndex, Made]:
    """Make the index, tune it, measure it.

    `vectors`: where the embeddings are written (`VectorFile`) if the kind is not exact. Beside the
    index itself, the training sample and one block are held. Where the kind is not exact, some
    vectors are held out until the effort of searches is found on them.
    """
    ids = source.ids()
    store = FaissIndex(dims, plan.kind, plan.lists)
    sample = held_out(ids, QUERIES, seed)
    queries = _there(source.vectors_of(sample))
    if store.exact:
        for block, rows in source.blocks():
            store.add(block, rows)
        ms = _ms(LiveIndex(store, 0), queries)
        return store, _made(plan, wanted, Tuned(0, 1, 1.0, 0, True), ms, len(store))
    truth = Top(queries, DEEPER)
    train_on = np.random.default_rng(seed + 1).choice(ids, plan.training, replace=False)
    store.train(_there(source.vectors_of(np.sort(train_on))))
    file = _fill(store, source, sample, truth, vectors)
    found = tune(store, truth, wanted.recall)
    store.add(sample, source.vectors_of(sample))
    ms = _ms(LiveIndex(store, 0, source.vectors_of, found.factor, file), queries)
    return store, _made(plan, wanted, found, ms, len(store))


def _fill(
    store: FaissIndex, source: Source, sample: Ids, truth: Top, vectors: str | None
) -> VectorFile | None:
    """All vectors but the sample into the store; all into a file, where one is wanted; the exact
    neighbours of the sample into `truth`."""

    def blocks() -> Iterator[tuple[Ids, Vectors]]:
        for block, rows in source.blocks():
            kept = np.isin(block, sample, invert=True)
            truth.add(block[kept], rows[kept])
            store.add(block[kept], rows[kept])
            yield block, rows

    if vectors is None:
        for _ in blocks():
            pass
        return None
    write_vectors(vectors, store.dims, blocks())
    return VectorFile(vectors)


def _made(plan: IndexPlan, wanted: Wanted, found: Tuned, ms: float | None, n: int) -> Made:
    return Made(
        plan.kind, wanted.kind, plan.reason, plan.lists, found.effort, found.factor, wanted.recall,
        round(found.recall, 4), found.queries, ms, 0.0, n,
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
