"""Index kinds on made vectors: bytes, build, index recall@10, ms of one query; filters; batches.

    python benchmarks/kinds.py [-n 50000] [--dims 256] [--recall 0.98] | --smoke

Vectors are unit rows of a 24-dim latent through a fixed non-linear map, with noise. They are kept
in memory as float32, so that scoring candidates costs less here than from a catalog's features
(`cbir info` shows what it costs there). One core searches; all build. Prints a JSON line a row.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from cbir.index import KINDS, FaissIndex, LiveIndex, Wanted, build, one_thread, plan
from cbir.index.tuning import query_ms
from cbir.types import Ids, Vectors

QUERIES = 200
SHARES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.01)
BATCHES = (1, 2, 4, 8, 16, 64, 256)


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


def vectors(n: int, dims: int, seed: int) -> Vectors:
    """Unit rows, float32 (n, dims)."""
    world, rng = np.random.default_rng(1), np.random.default_rng(seed)
    first, second = world.normal(size=(24, dims)), world.normal(size=(dims, dims)) / dims**0.5
    made = np.empty((n, dims), np.float32)
    for at in range(0, n, 8192):
        m = min(8192, n - at)
        hidden = np.maximum(rng.normal(size=(m, 24)) @ first, 0) @ second
        rows = hidden + 0.3 * rng.normal(size=(m, dims))
        made[at : at + m] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def recall(truth: Ids, found: Ids) -> float:
    """Share of the exact ten that were found."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)]))


def say(**row: object) -> None:
    """One line."""
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}),
          flush=True)  # fmt: skip


def kinds(source: Made, wanted_recall: float) -> None:
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
        store, made = build(source, dims, planned, wanted)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        live = LiveIndex(store, 0, source.vectors_of, made.factor)
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


def batches(source: Made) -> None:
    """Exact search of several queries at once: FAISS left alone, and as it is done here."""
    n, dims = source.rows.shape
    flat = FaissIndex(dims)
    flat.add(source.ids(), source.rows)
    with one_thread():
        for size in BATCHES:
            queries = vectors(size, dims, 4)
            times: dict[str, list[float]] = {"alone": [], "here": []}
            for _ in range(5):
                for name, search in (("alone", flat._index.search), ("here", flat.search)):
                    start = time.process_time()
                    search(queries, 10)
                    times[name].append(time.process_time() - start)
            each = {f"{k}_ms_each": 1e3 * float(np.median(v)) / size for k, v in times.items()}
            say(batch=size, n=n, dims=dims, **each)


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
        kinds(source, options.recall)


if __name__ == "__main__":
    main()
