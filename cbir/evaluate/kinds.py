"""What each index kind costs and loses on the embeddings of an index: measured side by side."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cbir.index import FaissIndex, LiveIndex, VectorFile, Wanted, build, one_thread, plan
from cbir.index.builder import QUERIES, Source
from cbir.index.tuning import DEPTH, held_out
from cbir.types import Vectors

LAPS = 3


@dataclass(frozen=True, slots=True)
class KindRow:
    """One index kind, built, tuned and asked.

    recall            index recall@10 on held-out images, 0 to 1; 1 where it is exact
    reached           whether that is what was asked for
    p50_ms, p99_ms    of one query for ten hits, scored exactly, on one core
    at_once           queries a second, all asked together, on all cores
    bytes_per_image   in memory, id included
    build_s           seconds to read the embeddings, build and tune
    effort            efSearch or nprobe; 0 where there is none
    queries           how many images asked
    """

    kind: str
    recall: float
    reached: bool
    p50_ms: float
    p99_ms: float
    at_once: float
    bytes_per_image: float
    build_s: float
    effort: int
    queries: int


def measure_kinds(
    source: Source,
    dims: int,
    kinds: Sequence[str],
    wanted: Wanted,
    advance: Callable[[int], None] = lambda _: None,
) -> list[KindRow]:
    """Build each kind of the source's embeddings, one after the other, and ask it.

    A kind that the gallery is too small for is left out. Nothing of it is kept; candidates are
    scored from a temporary file, as those of an index are.
    """
    ids = source.ids()
    queries = source.vectors_of(held_out(ids, QUERIES, 0))
    rows = []
    for kind in kinds:
        planned = plan(len(ids), dims, replace(wanted, kind=kind))
        if planned.kind == kind:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "embeddings.vectors")
                start = time.perf_counter()
                store, made = build(source, dims, planned, wanted, vectors=path)
                seconds = time.perf_counter() - start
                file = None if store.exact else VectorFile(path)
                live = LiveIndex(store, 0, source.vectors_of, made.factor, file)
                times, rate = _asked(live, queries)
                rows.append(KindRow(
                    kind, made.recall, made.recall >= wanted.recall, *_quantiles(times), rate,
                    _size(store) / max(1, len(store)), seconds, made.effort, len(queries),
                ))  # fmt: skip
                del live, file  # Windows keeps a file that is mapped
        advance(1)
    return rows


def _asked(live: LiveIndex, queries: Vectors) -> tuple[list[float], float]:
    """Seconds of each query by itself, and queries a second of all at once: the median lap."""
    if not len(queries):
        return [], float("nan")
    with one_thread():
        for row in queries[:10]:
            live.search(row[None], DEPTH)
        times = []
        for row in queries:
            start = time.perf_counter()
            live.search(row[None], DEPTH)
            times.append(time.perf_counter() - start)
    rates = []
    for _ in range(LAPS):
        start = time.perf_counter()
        live.search(queries, DEPTH)
        rates.append(len(queries) / (time.perf_counter() - start))
    return times, float(np.median(rates))


def _quantiles(times: Sequence[float]) -> tuple[float, float]:
    if not times:
        return float("nan"), float("nan")
    return 1000 * float(np.median(times)), 1000 * float(np.percentile(times, 99))


def _size(store: FaissIndex) -> int:
    """Bytes of its serial form, which are those in memory."""
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        size += len(data)

    store.write(count)
    return size
