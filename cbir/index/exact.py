"""Exact search and scores over vectors that come in blocks: memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np

from cbir.index.faiss_index import FaissIndex, sort_hits
from cbir.types import Ids, Vectors

BLOCK = 4096
"""Vectors that are held at a time."""


def nearest(
    queries: Vectors, k: int, blocks: Iterable[tuple[Ids, Callable[[], Vectors]]]
) -> tuple[Vectors, Ids]:
    """The k nearest of each query among all blocks: as `VectorStore.search` has it.

    queries float32 (q, d); a block: ids int64 (n,), and what gives its vectors float32 (n, d),
    rows of NaN for those that are not there.
    """
    top = Top(queries, k)
    for ids, vectors in blocks:
        top.add(ids, vectors())
    return top.scores, top.ids


class Top:
    """The k best of each query so far; scores float32 (q, k), ids int64 (q, k), -1 where none."""

    def __init__(self, queries: Vectors, k: int) -> None:
        """queries float32 (q, d)."""
        self.queries = queries
        self.k = k
        self.scores: Vectors = np.full((len(queries), k), -np.inf, np.float32)
        self.ids: Ids = np.full((len(queries), k), -1, np.int64)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Compare a block: ids int64 (n,), vectors float32 (n, d); rows with NaN do not count."""
        there = ~np.isnan(vectors).any(axis=1)
        block = FaissIndex(vectors.shape[1])
        block.add(ids[there], vectors[there])
        scores, found = block.search(self.queries, self.k)
        scores, found = sort_hits(
            np.concatenate((self.scores, scores), axis=1), np.concatenate((self.ids, found), axis=1)
        )
        self.scores, self.ids = scores[:, : self.k], found[:, : self.k]


def exact_scores(queries: Vectors, vectors: Vectors, places: Ids) -> Vectors:
    """Inner products of each query with some rows: float32 (q, m).

    queries float32 (q, d); vectors float32 (n, d); places int64 (q, m), below zero: none (NaN).
    """
    scores = np.full(places.shape, np.nan, np.float32)
    asked, rows = (np.ascontiguousarray(a, np.float32) for a in (queries, vectors))
    wanted = np.where(places < 0, -1, places)
    pointers = [faiss.swig_ptr(array) for array in (scores, asked, rows, wanted)]
    by_place: Any = vars(faiss)["fvec_inner_products_by_idx"]  # its stub lacks it
    by_place(*pointers, asked.shape[1], *places.shape)
    scores[places < 0] = np.nan
    return scores
