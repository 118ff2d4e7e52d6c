"""What a system costs on this machine: images/s of embedding, ms of a query, bytes of an image.

Wall-clock times of the real thing: files are read, decoded, resized and embedded just as
`cbir index` and `cbir query` do it, and searched in the index kind itself. Nothing comes from the
feature cache. A first run that is not timed warms everything up; files have been read before, so
that they come from memory. A figure is the median of repeats, which the caller spreads over
time, so that what else the machine does meets all systems alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbir.config import FeatureExtractor, runtime_choice
from cbir.embed.runtimes.seam import compiles
from cbir.errors import ImageError
from cbir.images import Batch, LoadOptions, load, prepare
from cbir.machine import processor
from cbir.types import ImageRef, Vectors

if TYPE_CHECKING:
    from cbir.index import FaissIndex

SAMPLE = 128
"""Pictures that embedding is timed on, at most."""
ALONE = 16
"""Pictures that are embedded one by one, as a query is, at most."""
PATIENCE_S = 10.0
"""Seconds after which a slow embedder is asked for no more: what it did until then counts."""
SEARCHES = 100
"""Queries that are searched for one by one, at most; each asks for the nearest 10."""
WARM_UP = 8


def conditions() -> dict[str, str | int | None]:
    """What speeds depend on: the processor, its cores, and what runs networks here."""
    return {**processor(), "runtime": "openvino" if compiles(runtime_choice()) else "keras"}


@dataclass(frozen=True, slots=True)
class Lap:
    """One repeat: images/s in batches, ms of one picture alone (decoded, embedded); NaN: none."""

    images_per_second: float
    alone_ms: float


def embedding_lap(
    paths: Sequence[str],
    embedder: FeatureExtractor,
    advance: Callable[[int], None] = lambda _: None,
) -> Lap:
    """Time an embedder on picture files, after a warm-up; files that cannot be used do not count.

    The first `ALONE` of them are also embedded one by one.
    """
    refs = file_refs(paths)
    options = LoadOptions(spec=embedder.spec)
    for batch in load(refs[: options.batch_size], options):
        _embed(batch, embedder)
    done, start = 0, time.perf_counter()
    seconds = 0.0
    for batch in load(refs, options):
        done += _embed(batch, embedder)
        seconds = time.perf_counter() - start
        advance(len(batch.images) + len(batch.failures))
        if seconds > PATIENCE_S:
            break
    return Lap(done / seconds if done else float("nan"), _alone_ms(paths[:ALONE], embedder))


def file_refs(paths: Sequence[str]) -> list[ImageRef]:
    """Files by their paths, as `load` takes them."""
    return [ImageRef("/" if p.startswith("/") else "", p.lstrip("/"), 0, 0) for p in paths]


def _embed(batch: Batch, embedder: FeatureExtractor) -> int:
    pixels = [image.pixels for image in batch.images if image.pixels is not None]
    if pixels:
        embedder.features(np.stack(pixels))
    return len(pixels)


def _alone_ms(paths: Sequence[str], embedder: FeatureExtractor) -> float:
    times: list[float] = []
    began = time.perf_counter()
    for path in (*paths[:1], *paths):  # the first one twice: it warms up
        start = time.perf_counter()
        try:
            pixels = prepare(path, embedder.spec).pixels
        except ImageError:
            continue
        assert pixels is not None
        embedder.features(pixels[None])
        times.append(1000 * (time.perf_counter() - start))
        if time.perf_counter() - began > PATIENCE_S:
            break
    return float(np.median(times[1:] or times)) if times else float("nan")


def _flat(dims: int) -> FaissIndex:
    from cbir.index import FaissIndex

    return FaissIndex(dims)


STORES: Mapping[str, Callable[[int], FaissIndex]] = {"flat": _flat}
"""An empty store of each index kind, for vectors of a given length."""


@dataclass(frozen=True, slots=True)
class Search:
    """What an index kind costs: ms of one search for 10 hits on one core; bytes an image takes in
    its file."""

    ms: float
    bytes_per_image: float


def search_costs(sets: Sequence[tuple[str, Vectors, Vectors]], repeats: int) -> list[Search]:
    """Build and search each (kind, queries (q, d), gallery (n, d)), in turns.

    The median over the queries of each repeat, then the median of the repeats.
    """
    from cbir.index import one_thread

    stores = []
    for kind, _, gallery in sets:
        store = STORES[kind](gallery.shape[1])
        store.add(np.arange(len(gallery), dtype=np.int64), gallery)
        stores.append(store)
    laps: list[list[float]] = [[] for _ in sets]
    with one_thread():
        for _ in range(repeats):
            for lap, store, (_, queries, _) in zip(laps, stores, sets, strict=True):
                lap.append(_search_ms(store, queries))
    return [
        Search(float(np.median(lap)), len(store.to_bytes()) / max(1, len(store)))
        for lap, store in zip(laps, stores, strict=True)
    ]


def _search_ms(store: FaissIndex, queries: Vectors) -> float:
    if not len(queries) or not len(store):
        return float("nan")
    for row in queries[:WARM_UP]:
        store.search(row[None], 10)
    times = []
    for row in queries[:SEARCHES]:
        start = time.perf_counter()
        store.search(row[None], 10)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))
