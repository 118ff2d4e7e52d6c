"""Index kinds on made vectors: bytes, build, index recall@10, ms of one query; filters; batches.

    python benchmarks/kinds.py [-n 50000] [--dims 256] [--recall 0.98] | --smoke

Vectors are made (made_vectors.py). Candidates are scored from a file of embeddings, as an index
does it. One core searches; all build. Prints a JSON line a row.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from made_vectors import vectors
from threadpoolctl import threadpool_limits

from cbir.index import KINDS, FaissIndex, LiveIndex, VectorFile, Wanted, build, one_thread, plan
from cbir.index.tuning import query_ms
from cbir.types import Ids, Vectors

QUERIES = 200
SHARES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.01)
BATCHES = (1, 2, 4, 8, 16, 64, 256, 2048)


class Made:
    """Vectors under the ids 0 to n - 1: a `Source`."""

    def __init__(self, n: int, dims: int) -> None:
        self.rows = vectors(n, dims, 0)

    def ids(self) -> Ids:
        """All ids."""
        return np.arange(len(self.rows), dtype=np.int64)

    def vectors_of(self, ids: Ids) -> Vectors:
        """Their vectors."""
        return self.rows[ids]

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All of them."""
        for at in range(0, len(self.rows), 4096):
            yield self.ids()[at : at + 4096], self.rows[at : at + 4096]


def recall(truth: Ids, found: Ids) -> float:
    """Share of the exact ten that were found."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)]))


def say(**row: object) -> None:
    """One line."""
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}),
          flush=True)  # fmt: skip


def kinds(source: Made, wanted_recall: float, folder: str) -> None:
    """Each kind: built, tuned, asked by vectors that it has never seen, and filtered."""
    n, dims = source.rows.shape
    queries = vectors(QUERIES, dims, 2)
    flat = FaissIndex(dims)
    flat.add(source.ids(), source.rows)
    _, truth = flat.search(queries, 10)
    chosen = np.random.default_rng(3).permutation(n)
    for kind in KINDS:
        wanted = Wanted(kind, wanted_recall)
        planned = plan(n, dims, wanted)
        start, cpu = time.perf_counter(), time.process_time()
        path = os.path.join(folder, f"{kind}.vectors")
        store, made = build(source, dims, planned, wanted, vectors=path)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        file = None if store.exact else VectorFile(path)
        live = LiveIndex(store, 0, source.vectors_of, made.factor, file)
        with one_thread():
            _, found = live.search(queries, 10)
            say(kind=kind, n=n, dims=dims, bytes=len(store.to_bytes()) / n,
                planned_bytes=planned.bytes_per_vector, build_s=seconds, build_cpu_s=cpu,
                planned_s=planned.build_s, effort=made.effort, factor=made.factor,
                held_out_recall=made.recall, new_recall=recall(truth, found),
                ms=query_ms(partial(live.search, k=10), queries))  # fmt: skip
            for share in SHARES:
                allowed = np.sort(chosen[: int(share * n)]).astype(np.int64)
                _, right = flat.search(queries[:50], 10, allowed)
                _, got = live.search(queries[:50], 10, allowed)
                unaided = np.full((50, 10), -1) if store.exact else store.search(
                    queries[:50], 42, allowed)[1]  # fmt: skip
                took = query_ms(partial(live.search, k=10, allowed=allowed), queries)
                say(kind=kind, share=share, recall=recall(right, got),
                    unaided=recall(right, unaided), ms=took)  # fmt: skip


def product(rows: Vectors, queries: Vectors) -> None:
    """The matrix product alone, in blocks as large as FAISS takes: what an exact search cannot do
    without, and cannot be quicker than."""
    for at in range(0, len(rows), 1024):
        for q in range(0, len(queries), 4096):
            np.matmul(queries[q : q + 4096], rows[at : at + 1024].T)


def batches(source: Made) -> None:
    """Exact search of several queries at once: FAISS left alone, as it is done here, and the matrix
    product alone."""
    n, dims = source.rows.shape
    flat = FaissIndex(dims)
    flat.add(source.ids(), source.rows)
    with one_thread(), threadpool_limits(1):
        for size in BATCHES:
            queries = vectors(size, dims, 4)
            times: dict[str, list[float]] = {"alone": [], "here": [], "product": []}
            ways: dict[str, Callable[[Vectors], Any]] = {
                "alone": lambda q: flat._index.search(q, 10),
                "here": lambda q: flat.search(q, 10),
                "product": partial(product, source.rows),
            }
            for _ in range(5):
                for name, way in ways.items():
                    start = time.process_time()
                    way(queries)
                    times[name].append(time.process_time() - start)
            each = {f"{k}_ms_each": 1e3 * float(np.median(v)) / size for k, v in times.items()}
            share = float(np.median(np.divide(times["product"], times["here"])))
            say(batch=size, n=n, dims=dims, **each, here_of_product=share)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", type=int, default=50_000)
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--no-kinds", action="store_true", help="exact batches only")
    parser.add_argument("--smoke", action="store_true", help="few vectors")
    options = parser.parse_args()
    if options.smoke:
        options.n, options.dims = 2000, 32
    source = Made(options.n, options.dims)
    batches(source)
    if not options.no_kinds:
        with tempfile.TemporaryDirectory() as folder:
            kinds(source, options.recall, folder)


if __name__ == "__main__":
    main()
