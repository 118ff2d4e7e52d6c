"""Which index kind for how many vectors, how much memory, how little time, how much recall.

Exact search as long as it is quick enough and fits, then the graph, then lists, then lists of
bits. The figures behind it are in docs/design/0011-index-kinds.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cbir.machine import cores, memory

LEAST = 1000
"""Images from which on a kind that is not exact can be had: fewer train nothing, and comparing them
all takes less than a tenth of a millisecond."""
BANDWIDTH = 16e9
"""Bytes of vectors that one core compares with a query in a second (19e9 to 20e9 were measured)."""
BESIDE = 12
"""Bytes of memory for each image beside an index that is not exact: where its embedding lies."""
POINTS = 64
"""Training rows for each centroid, at most."""
TRAINING = 262_144
"""Training rows in all, at most."""
FALLBACK_MEMORY = 4 << 30
"""Bytes of memory that count as there where the machine does not say."""
_GRAPH = 2 * 16 * 4 + 24
"""Bytes of an image beside its code in `hnsw`: 32 links of the lowest level, levels, offset, id."""
_GRAPH_S = 220e-6
"""Core-seconds of one image in a graph of 50,000, at d = 256, tuning included; it grows with the
logarithm, and little with d: what takes time is to fetch codes from memory."""
_LIST_S = 5e-11
"""Core-seconds of one image, one centroid, one dimension: training in ten rounds, assignment."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of an index: kind ("auto" or one of `KINDS`), index recall@10, bytes of memory
    (None: half of what this process may use), ms of one query."""

    kind: str = "auto"
    recall: float = 0.98
    memory: int | None = None
    latency_ms: float = 25.0

    @property
    def budget(self) -> int:
        """Bytes of memory that the index may take while it is searched: half, since embedding and
        the pages of files need some too."""
        return self.memory or (memory() or FALLBACK_MEMORY) // 2


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What is made: kind, coarse centroids (0: none), training rows, and what it takes.

    bytes_per_vector   in memory and in the file, its share of the centroids included
    build_s            seconds to build it, about, on the cores of this process
    reason             why, in one line
    """

    kind: str
    lists: int
    training: int
    bytes_per_vector: float
    build_s: float
    reason: str


def plan(n: int, dims: int, wanted: Wanted) -> IndexPlan:
    """The kind for n vectors of length `dims`; a kind that is asked for is taken where n allows.

    Recall decides nothing here but for 1: that is exact search. It is reached by tuning.
    """
    if wanted.kind != "auto":
        if wanted.kind == "flat" or n >= LEAST:
            return _plan(wanted.kind, n, dims, "asked for")
        return _plan("flat", n, dims, f"{wanted.kind} was asked for; it takes {LEAST:,} images, "
                                      f"there are {n:,}")  # fmt: skip
    scan_ms = 1000 * n * dims * 4 / BANDWIDTH
    budget = wanted.budget
    size = n * bytes_per_vector("flat", n, dims)
    if n < LEAST or (scan_ms <= wanted.latency_ms and size <= budget):
        return _plan("flat", n, dims, f"exact search takes about {scan_ms:.2g} ms a query, "
                                      f"{wanted.latency_ms:g} are allowed")  # fmt: skip
    if wanted.recall >= 1 and size <= budget:
        return _plan("flat", n, dims, "only exact search has an index recall of 1")
    much = (
        f"exact search would take about {scan_ms:,.0f} ms a query, {wanted.latency_ms:g} are "
        "allowed" if size <= budget else "exact vectors do not fit the memory"
    )  # fmt: skip
    for kind in ("hnsw", "ivf"):
        if n * (bytes_per_vector(kind, n, dims) + BESIDE) <= budget:
            return _plan(kind, n, dims, much)
        much = f"{_size(n * bytes_per_vector(kind, n, dims))} of {kind} do not fit the memory"
    if n * (bytes_per_vector("pq", n, dims) + BESIDE) > budget:
        much += ", nor do those of pq: they are searched where they lie on the disk"
    return _plan("pq", n, dims, much)


def replan(kind: str, n: int, dims: int, wanted: Wanted) -> IndexPlan:
    """As `plan`, but where the kind is left to it, the one that is there stays until n is a quarter
    off from where it belongs."""
    best = plan(n, dims, wanted)
    if wanted.kind == "auto" and best.kind != kind:
        for about in (int(n / 1.25), int(n * 1.25)):
            if plan(about, dims, wanted).kind == kind:
                return _plan(
                    kind, n, dims, f"it stays, though {best.kind} would be made of as many"
                )
    return best


def lists_for(n: int) -> int:
    """Coarse centroids for n vectors: 4 √n, but a list holds 16 at least."""
    return max(1, min(round(4 * math.sqrt(n)), n // 16))


def bytes_per_vector(kind: str, n: int, dims: int) -> float:
    """Bytes of one vector in memory, its id and its share of the centroids included."""
    centroids = 4 * dims * lists_for(n) / max(1, n)
    return {
        "flat": 4 * dims + 8,
        "hnsw": dims + _GRAPH,
        "ivf": dims + 8 + centroids,
        "pq": dims / 8 + 8 + 8 + centroids,
    }[kind]


def _plan(kind: str, n: int, dims: int, reason: str) -> IndexPlan:
    lists = lists_for(n) if kind in ("ivf", "pq") else 0
    training = {"flat": 0, "hnsw": min(n, TRAINING // 4)}.get(
        kind, min(n, POINTS * lists, TRAINING)
    )
    return IndexPlan(
        kind, lists, training, bytes_per_vector(kind, n, dims),
        _build_s(kind, n, dims, lists, training), reason,
    )  # fmt: skip


def _build_s(kind: str, n: int, dims: int, lists: int, training: int) -> float:
    """Without reading the features, which every kind takes alike."""
    work = n * dims * 4 / BANDWIDTH
    if kind == "hnsw":
        work += n * _GRAPH_S * (3 + dims / 256) / 4 * math.log(max(n, 2)) / math.log(50_000)
    elif lists:
        work += _LIST_S * dims * lists * (10 * training + n)
    return work / cores()


def _size(size: float) -> str:
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.0f} MB"
