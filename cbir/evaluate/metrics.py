"""Retrieval metrics: arrays in, numbers out.

Throughout, `relevant` is bool (n,), the ranking of one query by falling score, with the query
itself and junk already removed by id; `total` is how many relevant images the gallery has for it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Flags: TypeAlias = NDArray[np.bool_]


def recall_at_k(relevant: Flags, k: int) -> float:
    """1 where at least one of the first k is relevant, else 0 (mean over queries: recall@k)."""
    return float(relevant[:k].any())


def precision_at_k(relevant: Flags, k: int) -> float:
    """Share of relevant images among the first k; k places are counted even where fewer came."""
    return float(relevant[:k].sum()) / k


def average_precision(relevant: Flags, total: int) -> float:
    """Average precision by the rectangle rule: mean over all relevant of precision at their rank.

    A relevant image that was not returned counts 0. NaN where `total` is 0.
    """
    if total == 0:
        return float("nan")
    ranks = np.flatnonzero(relevant) + 1
    found = np.arange(1, len(ranks) + 1)
    return float((found / ranks).sum()) / total


def map_at_r(relevant: Flags, total: int) -> float:
    """MAP@R of one query: average precision over the first R = `total` places.

    Musgrave et al., A Metric Learning Reality Check (ECCV 2020), section 3.4.
    """
    return average_precision(relevant[:total], total)
