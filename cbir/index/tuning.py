"""Finding the effort of searches that reaches an index recall, on vectors of the gallery itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cbir.index.exact import Top
from cbir.index.faiss_index import FaissIndex
from cbir.index.live import FACTOR, candidates
from cbir.types import Ids, Vectors

DEPTH = 10
"""Index recall@10."""
DEEPER = 64
"""Exact neighbours that are known: among copies, any with the score of the tenth is as right."""
STEP = 1.1
"""Bisection ends when its ends are this near, as a ratio."""
TIMED = 50
SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found: effort, candidates per hit, index recall@10 on held-out vectors, on how many;
    `reached`: whether that is what was asked for."""

    effort: int
    factor: int
    recall: float
    queries: int
    reached: bool


def tune(store: FaissIndex, truth: Top, recall: float) -> Tuned:
    """Set the store's effort to the least that reaches `recall` against exact search.

    `truth`: the exact nearest `DEEPER` of vectors that are not in the store (held out: those that
    are in it are found more easily). As candidates are scored by their stored features afterwards,
    recall is the share of the ten nearest among the candidates. Where no effort reaches it, more
    candidates are taken (`pq`); where that does not either, the most that can be had is set.
    """
    factors = (
        (FACTOR // 4, FACTOR // 2, FACTOR, 2 * FACTOR, 4 * FACTOR) if store.kind == "pq" else (2,)
    )
    found = Tuned(store.most, factors[-1], 1.0, 0, True)
    if not len(truth.queries) or not len(store):
        store.effort = found.effort
        return found
    for factor in factors:
        found = _bisect(store, truth, recall, factor)
        if found.reached:
            break
    store.effort = found.effort
    return found


def measured_recall(store: FaissIndex, truth: Top, factor: int) -> float:
    """Index recall@10 at the store's present effort, 0 to 1."""
    fetch = candidates(DEPTH, factor)
    _, found = store.search(truth.queries, fetch)
    hits = 0
    possible = 0
    for row, scores, ids in zip(found, truth.scores, truth.ids, strict=True):
        real = int((ids[:DEPTH] >= 0).sum())
        if real:
            right = ids[scores >= scores[real - 1] - SAME]
            hits += min(real, int(np.isin(row[row >= 0], right).sum()))
            possible += real
    return hits / possible if possible else 1.0


def query_ms(search: Callable[[Vectors], object], queries: Vectors) -> float:
    """The median ms of one query, NaN without any. queries float32 (q, d)."""
    times = []
    for row in (*queries[:3], *queries[:TIMED]):  # the first ones warm up
        start = time.perf_counter()
        search(row[None])
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[min(3, len(queries)) :])) if times else float("nan")


def held_out(ids: Ids, most: int, seed: int) -> Ids:
    """A sample of ids, a tenth of them at most, rising; it depends on the ids alone."""
    size = min(most, len(ids) // 10)
    return np.sort(np.random.default_rng(seed).choice(ids, size, replace=False))


def _bisect(store: FaissIndex, truth: Top, target: float, factor: int) -> Tuned:
    """The least effort that reaches the target; recall is taken as rising with effort."""
    tried: dict[int, float] = {}

    def recall(effort: int) -> float:
        store.effort = effort
        tried[effort] = measured_recall(store, truth, factor)
        return tried[effort]

    low, high = 1, store.most
    top = min(high, 64)
    while recall(top) < target and top < high:
        low, top = top, min(high, 4 * top)
    high = top
    while tried[top] >= target and high > STEP * low and high - low > 1:
        middle = round((low * high) ** 0.5)
        middle = min(max(middle, low + 1), high - 1)
        if recall(middle) >= target:
            high = middle
        else:
            low = middle
    reached = tried[high] >= target
    return Tuned(high, factor, tried[high], len(truth.queries), reached)
