"""Retrieval metrics: arrays in, numbers out.

Throughout, `relevant` is bool (n,), the ranking of one query by falling score, with the query
itself and junk already removed by id; `total` is how many relevant images the gallery has for it.
A metric of a query without any relevant image is NaN: such queries are counted, and left out of
means (`mean`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbir.types import Ids, Vectors

Flags: TypeAlias = NDArray[np.bool_]


def recall_at_k(relevant: Flags, k: int) -> float:
    """1 where at least one of the first k is relevant, else 0 (mean over queries: recall@k)."""
    return float(relevant[:k].any())


def relevant_recall_at_k(relevant: Flags, k: int, total: int) -> float:
    """Share of the query's relevant images that are among the first k."""
    return float(relevant[:k].sum()) / total if total else math.nan


def precision_at_k(relevant: Flags, k: int) -> float:
    """Share of relevant images among the first k; k places are counted even where fewer came."""
    return float(relevant[:k].sum()) / k


def clipped_precision_at_k(relevant: Flags, k: int) -> float:
    """P@k where k is at most the rank of the last relevant image; 0 where none came.

    Radenovic et al., Revisiting Oxford and Paris (CVPR 2018): their mP@k.
    """
    ranks = np.flatnonzero(relevant)
    return precision_at_k(relevant, min(k, int(ranks[-1]) + 1)) if len(ranks) else 0.0


def r_precision(relevant: Flags, total: int) -> float:
    """P@R, R = `total`."""
    return precision_at_k(relevant, total) if total else math.nan


def average_precision(relevant: Flags, total: int) -> float:
    """Average precision by the rectangle rule: mean over all relevant of precision at their rank.

    A relevant image that was not returned counts 0. NaN where `total` is 0.
    """
    if total == 0:
        return math.nan
    ranks = np.flatnonzero(relevant) + 1
    found = np.arange(1, len(ranks) + 1)
    return float((found / ranks).sum()) / total


def average_precision_trapezoid(relevant: Flags, total: int) -> float:
    """Average precision by the trapezoid rule, as the Oxford and Paris benchmarks have it.

    Philbin et al., Object retrieval with large vocabularies (CVPR 2007). It is smaller than the
    rectangle rule's: one relevant image at rank 2 gives .25 against .50.
    """
    if total == 0:
        return math.nan
    area = 0.0
    for j, rank in enumerate(np.flatnonzero(relevant).tolist()):
        before = j / rank if rank else 1.0
        area += (before + (j + 1) / (rank + 1)) / 2
    return area / total


def map_at_r(relevant: Flags, total: int) -> float:
    """MAP@R of one query: average precision over the first R = `total` places.

    Musgrave et al., A Metric Learning Reality Check (ECCV 2020), section 3.4.
    """
    return average_precision(relevant[:total], total)


def ndcg(relevant: Flags, k: int, total: int) -> float:
    """Normalised discounted cumulative gain over the first k places, relevance 0 or 1.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation (TOIS 2002).
    """
    if total == 0:
        return math.nan
    discount = 1 / np.log2(np.arange(2, k + 2))
    shown = relevant[:k]
    return float(discount[: len(shown)][shown].sum() / discount[: min(k, total)].sum())


def n_s(relevant: Flags, group: int = 4) -> float:
    """N-S score of UKBench: how many of the first `group` places hold a picture of the query's
    group, the query included; at most `group`.

    `relevant` is here the ranking of the whole gallery, the query's own image in it. Nistér and
    Stewénius, Scalable recognition with a vocabulary tree (CVPR 2006).
    """
    return float(relevant[:group].sum())


def index_recall_at_k(
    scores: Vectors, exact_scores: Vectors, k: int, tolerance: float = 1e-6
) -> float:
    """Index recall@k: share of the first k that are as near as the exact k-th neighbour.

    scores, exact_scores float32 (q, >=k), falling. By distance and not by id, so that images of
    equal distance count alike (Aumüller et al., ANN-Benchmarks, 2020, section 3).
    """
    if not len(scores):
        return math.nan
    bound = exact_scores[:, k - 1 : k] - tolerance
    return float((scores[:, :k] >= bound).sum()) / (k * len(scores))


def index_recall_by_id(ids: Ids, exact_ids: Ids, k: int) -> float:
    """Overlap of the first k ids with the exact first k, int64 (q, >=k); ties count as misses."""
    shared = [len(set(a[:k]) & set(b[:k])) for a, b in zip(ids.tolist(), exact_ids.tolist(),
                                                           strict=True)]  # fmt: skip
    return sum(shared) / (k * len(shared)) if shared else math.nan


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are no NaN; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


_DRAWN = 1 << 20
"""Values of a bootstrap that are drawn at a time: bounds memory."""


def bootstrap_interval(
    values: Sequence[float], seed: int = 0, rounds: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean over queries: Efron, Bootstrap methods (1979).

    NaN values are left out; (NaN, NaN) where none remain.
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWN // len(known))
    means = [
        known[rng.integers(0, len(known), (min(step, rounds - start), len(known)))].mean(axis=1)
        for start in range(0, rounds, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(
    first: Sequence[float], second: Sequence[float], seed: int = 0, rounds: int = 2000
) -> tuple[float, float, float]:
    """Mean of second - first over the same queries, with its 95 % bootstrap interval.

    Queries are drawn together, so that what is hard for both does not widen the interval.
    """
    pairs = [b - a for a, b in zip(first, second, strict=True)]
    low, high = bootstrap_interval(pairs, seed, rounds)
    return mean(pairs), low, high
