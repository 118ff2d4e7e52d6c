"""Vectors with weak clusters, and what a plain loop says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cbir.index import FaissIndex, LiveIndex
from cbir.types import Ids, Vectors

LISTS = 32


def unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def made(n: int, dims: int = 24, seed: int = 0) -> Vectors:
    """A latent of 8 dims through a fixed map, with noise: lists are not trivially right."""
    world = np.random.default_rng(77)
    rng = np.random.default_rng(seed)
    hidden = np.maximum(rng.normal(size=(n, 8)) @ world.normal(size=(8, dims)), 0)
    return unit(hidden @ world.normal(size=(dims, dims)) / 5 + 0.3 * rng.normal(size=(n, dims)))


class Truth:
    """Id → vector; a `Source` of `index.builder`."""

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        self.rows = dict(zip(ids.tolist(), vectors, strict=True))
        self.dims = vectors.shape[1]
        self.read = 0

    def ids(self) -> Ids:
        return np.array(sorted(self.rows), np.int64)

    def vectors_of(self, ids: Ids) -> Vectors:
        self.read += len(ids)
        none = np.full(self.dims, np.nan, np.float32)
        found = [self.rows.get(i, none) for i in ids.tolist()]
        return np.array(found, np.float32).reshape(-1, self.dims)

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        ids = self.ids()
        for at in range(0, len(ids), 700):
            yield ids[at : at + 700], self.vectors_of(ids[at : at + 700])

    def best(self, query: Vectors, k: int, keep: Callable[[int], bool] = lambda _: True) -> Ids:
        """All scores in float64, sorted by score and id."""
        ids = np.array([image for image in self.rows if keep(image)], np.int64)
        rows = np.array([self.rows[i] for i in ids.tolist()], np.float64).reshape(-1, self.dims)
        return ids[np.lexsort((ids, -(rows @ query.astype(np.float64)).round(9)))[:k]]


def index_of(kind: str, truth: Truth) -> FaissIndex:
    """All of it in an index of this kind, searched with much effort."""
    ids = truth.ids()
    store = FaissIndex(truth.dims, kind, max(1, min(LISTS, len(ids))))
    if len(ids) and not store.exact:
        store.train(truth.vectors_of(ids))
    store.add(ids, truth.vectors_of(ids))
    if not store.exact:
        store.effort = store.most
    return store


def live_of(kind: str, truth: Truth, seq: int = 0) -> LiveIndex:
    return LiveIndex(index_of(kind, truth), seq, truth.vectors_of)
