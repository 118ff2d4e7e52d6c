"""Index kind `flat`: every vector as it is, compared with every query."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

from cbir.types import Ids, Vectors

BLAS_FROM = 8
"""Queries at once from which on a matrix product beats one query after the other."""
BLOCK = 4096
"""Rows that are rebuilt at a time."""
_one = threading.Lock()


class Flat:
    """Exact: `IndexIDMap2(IndexFlatIP)`."""

    name = "flat"
    exact = True
    knob = ""

    def make(self, dims: int, lists: int) -> Any:
        """See `Kind.make`."""
        flat = faiss.IndexFlatIP(dims)
        made = faiss.IndexIDMap2(flat)
        made.own_fields = True
        flat.this.disown()  # type: ignore[attr-defined]
        return made

    def train(self, index: Any, rows: Vectors) -> None:
        """There is nothing to learn."""

    def add(self, index: Any, ids: Ids, rows: Vectors) -> None:
        """See `Kind.add`."""
        index.add_with_ids(rows, ids)

    def coded(self, rows: Vectors) -> Vectors:
        """See `Kind.coded`: as they are."""
        return rows

    def holds(self, index: Any) -> bool:
        """See `Kind.holds`."""
        return isinstance(index, faiss.IndexIDMap2) and isinstance(
            faiss.downcast_index(index.index), faiss.IndexFlat
        )

    def ids(self, index: Any) -> Ids:
        """See `Kind.ids`."""
        return mapped_ids(index)

    def remove(self, index: Any, ids: Ids) -> int:
        """See `Kind.remove`."""
        selector: Any = faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64))
        return int(index.remove_ids(selector))

    def effort(self, index: Any, value: int | None = None) -> int:
        """There is no knob."""
        return 0

    def most(self, index: Any) -> int:
        """There is no knob."""
        return 0

    def search(
        self, index: Any, queries: Vectors, k: int, selector: Any, scale: float
    ) -> tuple[Vectors, Ids]:
        """See `Kind.search`: every row is looked at."""
        made: Any = faiss.SearchParameters  # its stub lacks the keyword
        parameters = None if selector is None else made(sel=selector)
        with small_batches(len(queries) if selector is None else 1):
            scores, ids = index.search(queries, k, params=parameters)
        return scores, ids

    def blocks(self, index: Any) -> Iterator[tuple[Ids, Vectors]]:
        """See `Kind.blocks`."""
        return mapped_blocks(index)


def mapped_blocks(index: Any) -> Iterator[tuple[Ids, Vectors]]:
    """The rows of an IndexIDMap2 as FAISS rebuilds them, with their ids."""
    ids = mapped_ids(index)
    for at in range(0, len(ids), BLOCK):
        some = ids[at : at + BLOCK]
        rows = index.index.reconstruct_n(at, len(some))
        yield some, np.asarray(rows, np.float32).reshape(len(some), index.d)


def mapped_ids(index: Any) -> Ids:
    """The ids of an IndexIDMap2: a copy, since what FAISS returns looks into its own memory."""
    return np.array(faiss.vector_to_array(index.id_map), np.int64, copy=True)


@contextmanager
def small_batches(queries: int) -> Iterator[None]:
    """Within, FAISS multiplies matrices for this many queries at once, where that is faster.

    Since pull request 5022 (2026) it does so only from queries × dims = 128,000 on. The threshold
    is the process's own: one thread at a time changes it, a search meanwhile in another thread may
    see it (it is then as exact, in another order of additions).
    """
    if queries < BLAS_FROM or not hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        yield
        return
    with _one:
        before = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = 1
        try:
            yield
        finally:
            faiss.cvar.distance_compute_blas_threshold = before
