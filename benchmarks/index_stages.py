"""The stages of benchmarks/index.py, each run in a process of its own."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from index_mix import mix
from made_vectors import Filler, blocks, stored, vectors

from cbir import Index
from cbir.config import IndexSpec
from cbir.index import LiveIndex, one_thread
from cbir.index.exact import Top
from cbir.index.live import candidates
from cbir.lifecycle import refresh
from cbir.machine import cores
from cbir.types import Ids, Vectors

K = 10
ROUNDS = 5
FETCH = candidates(K, 2)
"""What cbir scores anew of the kinds of one byte a dimension; usearch is given the same."""


def fill(
    folder: Path, n: int, dims: int, queries: int, memory: int, kind: str, **_more: Any
) -> dict[str, Any]:
    """A catalog with all vectors; queries that are not in it, and their exact neighbours."""
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    spec = IndexSpec(dims=dims, projection="none", kind=kind, memory=memory or None)  # type: ignore[arg-type]
    filler = Filler(folder / "index", dims, spec)
    asked = vectors(queries, dims, 2)
    top = Top(asked, K)
    for _at, rows in blocks(n, dims, 0):
        top.add(filler.add(rows), stored(rows))
    filler.writer.close()
    np.savez(folder / "truth.npz", queries=asked, ids=top.ids, scores=top.scores)
    return {"seconds": time.perf_counter() - start, "rss_gb": peak(),
            "catalog_gb": os.path.getsize(folder / "index" / "catalog.sqlite") / 1e9}  # fmt: skip


def build(folder: Path, n: int, **_more: Any) -> dict[str, Any]:
    """As the end of `cbir index` builds it: planned, built, tuned, measured, written."""
    from cbir.catalog import CatalogWriter

    start, cpu = time.perf_counter(), time.process_time()
    writer = CatalogWriter(str(folder / "index"))
    done = refresh(writer)
    writer.close()
    made = done.made
    assert made is not None
    return {
        "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
        "rss_gb": peak(), "kind": made.kind, "reason": made.reason, "effort": made.effort,
        "factor": made.factor, "held_out_recall": made.recall, "held_out_ms": made.ms,
        "bytes_per_vector": made.bytes_per_vector, "lists": made.lists,
        "vectors_file_gb": sum(f.stat().st_size for f in (folder / "index" / "ann").iterdir()
                               if f.suffix == ".vectors") / 1e9,
    }  # fmt: skip


def opened(folder: Path, **_more: Any) -> dict[str, Any]:
    """From opening the index to the first answer, in a fresh process."""
    queries = truth(folder)[0]
    start = time.perf_counter()
    with Index.open(folder / "index") as index:
        index.search(queries[:1], K)
        first = time.perf_counter() - start
        index.search(queries[1:2], K)
    return {"first_answer_s": first, "rss_gb": peak(), **resident()}


def ask(folder: Path, **_more: Any) -> dict[str, Any]:
    """One query at a time and all at once, beside FAISS's own index alone; a curve of efforts."""
    queries, ids, scores = truth(folder)
    with Index.open(folder / "index") as index:
        index.search(queries[:1], K)
        live = live_of(index)
        base: Any = live.base._index
        asked = live.base._kind.coded(queries)  # what FAISS itself is asked
        single = {
            "cbir": lambda at: index.search(queries[at : at + 1], K),
            "faiss": lambda at: base.search(asked[at : at + 1], K),
        }
        times = one_by_one(single, len(queries))
        over = [1000 * (a - b) for a, b in zip(times["cbir"], times["faiss"], strict=True)]
        batch = {"cbir": lambda: index.search(queries, K),
                 "cbir, no catalog": lambda: live.search(queries, K),
                 "faiss": lambda: base.search(asked, K)}  # fmt: skip
        at_once = together(batch)
        got = index.search(queries, K)
        made = {
            "recall": recall(ids, got[1]), "score_error": score_error(got, ids, scores),
            "faiss_recall": recall(ids, base.search(asked, K)[1]),
            "single": {name: figures(t) for name, t in times.items()},
            "single_overhead_ms": {"median": median(over),
                                   "p90": float(np.percentile(over, 90))},
            "batch": {name: {"qps": len(queries) / median(w), "per_cpu_s": len(queries) / median(c)}
                      for name, (w, c) in at_once.items()},
            "batch_overhead": {by: ratios(at_once["cbir"][at], at_once["faiss"][at])
                               for at, by in enumerate(("wall", "cpu"))},
            "curve": {"cbir": curve(live, queries, ids)},
            "rss_gb": peak(), **resident(),
        }  # fmt: skip
    return made


def by_hnswlib(folder: Path, n: int, dims: int, recall: float, **_more: Any) -> dict[str, Any]:
    """hnswlib, float32, M and efConstruction as cbir has them, at the effort of equal recall."""
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=dims)
    start, cpu = time.perf_counter(), time.process_time()
    graph.init_index(max_elements=n, M=16, ef_construction=80, random_seed=0)
    for at, rows in blocks(n, dims, 0):
        graph.add_items(stored(rows), np.arange(at + 1, at + 1 + len(rows)), num_threads=cores())
    built = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    path = folder / "hnswlib.bin"
    graph.save_index(str(path))
    built["bytes_per_vector"] = path.stat().st_size / n
    path.unlink()

    def search(queries: Vectors, effort: int, threads: int) -> Ids:
        graph.set_ef(max(effort, K))
        found, _ = graph.knn_query(queries, K, num_threads=threads)
        return np.asarray(found, np.int64)

    return beside(folder, "hnswlib", search, recall, built)


def by_usearch(folder: Path, n: int, dims: int, recall: float, **_more: Any) -> dict[str, Any]:
    """usearch, one byte a dimension, its candidates scored anew by cbir's own file of vectors."""
    from usearch.index import Index as Graph

    graph = Graph(ndim=dims, metric="ip", dtype="i8", connectivity=16, expansion_add=80)
    start, cpu = time.perf_counter(), time.process_time()
    for at, rows in blocks(n, dims, 0):
        graph.add(np.arange(at + 1, at + 1 + len(rows)), stored(rows), threads=cores())
    built = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
             "bytes_per_vector": graph.serialized_length / n}  # fmt: skip
    with Index.open(folder / "index") as index:
        index.search(truth(folder)[0][:1], K)
        file = live_of(index).file
        assert file is not None, "the index of this stage has codes, and a file beside them"

        def search(queries: Vectors, effort: int, threads: int) -> Ids:
            graph.expansion_search = max(effort, FETCH)
            keys = graph.search(queries, FETCH, threads=threads).keys.astype(np.int64)
            keys = keys.reshape(len(queries), -1)
            scores = file.scores(queries, keys)
            order = np.argsort(-scores, axis=1)[:, :K]
            return np.take_along_axis(keys, order, 1)

        return beside(folder, "usearch", search, recall, built)


def beside(
    folder: Path, name: str, search: Callable[[Vectors, int, int], Ids], wanted: float,
    built: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A peer at the least effort that has cbir's recall, and cbir, taking turns."""
    queries, ids, _ = truth(folder)
    tried: dict[int, tuple[float, float]] = {}

    def at(effort: int) -> float:
        start = time.process_time()
        found = search(queries, effort, 1)
        spent = time.process_time() - start
        tried[effort] = recall(ids, found), len(queries) / spent
        return tried[effort][0]

    low, high = 8, 16
    while at(high) < wanted and high < 4096:
        low, high = high, 2 * high
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) >= wanted else (middle, high)
    with Index.open(folder / "index") as index:
        index.search(queries[:1], K)
        single = {"cbir": lambda at: index.search(queries[at : at + 1], K),
                  name: lambda at: search(queries[at : at + 1], high, 1)}  # fmt: skip
        times = one_by_one(single, len(queries))
        at_once = together({"cbir": lambda: index.search(queries, K),
                            name: lambda: search(queries, high, cores())})  # fmt: skip
    return {
        "built": built, "effort": high, "recall": tried[high][0],
        "reached": tried[high][0] >= wanted,
        "single": {key: figures(t) for key, t in times.items()},
        "cbir_times_as_fast": {
            "single": median(times[name]) / median(times["cbir"]),
            "batch_wall": ratios(at_once[name][0], at_once["cbir"][0]),
            "batch_cpu": ratios(at_once[name][1], at_once["cbir"][1]),
        },
        "batch": {key: {"qps": len(queries) / median(w)} for key, (w, _) in at_once.items()},
        "curve": {name: [[e, *tried[e]] for e in sorted(tried)]}, "rss_gb": peak(),
    }  # fmt: skip


# -- measuring -----------------------------------------------------------------------------------


def truth(folder: Path) -> tuple[Vectors, Ids, Vectors]:
    """Queries (q, d), their exact ids (q, 10) and scores (q, 10)."""
    with np.load(folder / "truth.npz") as data:
        return data["queries"], data["ids"], data["scores"]


def live_of(index: Index) -> LiveIndex:
    """What an index searches, once it was asked."""
    assert index._state is not None
    return index._state.live


def recall(ids: Ids, found: Ids) -> float:
    """Share of the exact ten that were found."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(ids, found, strict=True)]))


def score_error(got: tuple[Vectors, Ids], ids: Ids, scores: Vectors) -> float:
    """The largest difference of a hit's score from the exact one, over hits among the exact ten."""
    worst = 0.0
    for score, found, right, exact in zip(*got, ids, scores, strict=True):
        known = dict(zip(right.tolist(), exact.tolist(), strict=True))
        pairs = zip(found.tolist(), score.tolist(), strict=True)
        worst = max([worst, *(abs(s - known[i]) for i, s in pairs if i in known)])
    return worst


def one_by_one(ways: dict[str, Callable[[int], Any]], count: int) -> dict[str, list[float]]:
    """Seconds of each query (by its number) by each way, on one core; the ways take turns in being
    first."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    with one_thread():
        for number in range(min(20, count)):
            for way in ways.values():
                way(number)
        for number in range(count):
            for name in names if number % 2 else reversed(names):
                start = time.perf_counter()
                ways[name](number)
                times[name].append(time.perf_counter() - start)
    return times


def together(ways: dict[str, Callable[[], Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and CPU seconds of all queries at once, in rounds."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            start, cpu = time.perf_counter(), time.process_time()
            way()
            if turn:
                found[name][0].append(time.perf_counter() - start)
                found[name][1].append(time.process_time() - cpu)
    return found


def ratios(over: list[float], under: list[float]) -> dict[str, float]:
    """Pair by pair: median, least, most."""
    pairs = [a / b for a, b in zip(over, under, strict=True)]
    return {"median": median(pairs), "least": min(pairs), "most": max(pairs)}


def curve(live: LiveIndex, queries: Vectors, ids: Ids) -> list[list[float]]:
    """Effort, recall, queries a CPU-second, of some efforts around the one that was tuned."""
    usual = live.base.effort
    made = []
    if live.base.exact:
        return []
    with one_thread():
        for share in (0.25, 0.5, 0.7, 1, 1.4, 2, 4):
            live.base.effort = max(1, min(live.base.most, round(share * usual)))
            start = time.process_time()
            _, found = live.search(queries, K)
            spent = time.process_time() - start
            made.append([live.base.effort, recall(ids, found), len(queries) / spent])
    live.base.effort = usual
    return made


def figures(times: list[float]) -> dict[str, float]:
    """p50 and p99 in ms, queries a second."""
    return {"p50_ms": 1000 * median(times), "p99_ms": 1000 * float(np.percentile(times, 99)),
            "qps": len(times) / sum(times)}  # fmt: skip


def peak() -> float:
    """The most memory that this process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def resident() -> dict[str, float]:
    """GB that it holds now, and what of it is its own, not pages of files."""
    found = {}
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                found[f"{name}_gb"] = int(rest.split()[0]) * 1024 / 1e9
    return found


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": fill, "build": build, "open": opened, "ask": ask, "hnswlib": by_hnswlib,
    "usearch": by_usearch, "mix": mix,
}  # fmt: skip
