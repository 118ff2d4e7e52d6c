"""The curves of a report, from stored answers alone: recall@k, precision-recall, scores.

Queries that no image is relevant to are left out of recall and precision, as of every mean; their
scores count among the irrelevant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbir.evaluate.answers import SCORE_BINS, Answer, Answers, score_counts
from cbir.types import Ids

Floats: TypeAlias = NDArray[np.float64]

MOST = 100
"""Recall@k is drawn for k up to this."""

LEVELS = 101
"""Recall levels of the precision-recall curve: 0, .01, ... 1; every tenth is one of the eleven."""


@dataclass(frozen=True, slots=True, eq=False)
class RecallCurve:
    """Recall@k for k = 1, 2, ...: values and the ends of a 95 % interval, float64 (k,) each."""

    recall: Floats
    low: Floats
    high: Floats


def recall_curve(
    answers: Answers, most: int = MOST, seed: int = 0, rounds: int = 2000
) -> RecallCurve:
    """Recall@k for k from 1 to `most`, or to the size of the gallery where that is less.

    The band is the percentile interval of a bootstrap over queries, k by k (not a band for the
    whole curve); with the same seed and rounds it is `bootstrap_interval` at each k. Empty arrays
    where no query has a relevant image.
    """
    most = min(most, answers.gallery)
    ranks = [a.ranks[0] if a.ranks else most + 1 for a in answers.answers if a.total]
    first: Ids = np.array(ranks, np.int64)
    if not len(first) or not most:
        return RecallCurve(*(np.zeros(0) for _ in range(3)))
    capped = np.minimum(first, most + 1)
    rng = np.random.default_rng(seed)
    drawn = [_share(capped[rng.integers(0, len(first), len(first))], most) for _ in range(rounds)]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return RecallCurve(_share(capped, most), low, high)


def _share(first: Ids, most: int) -> Floats:
    """Share of first ranks that are at most k, for k from 1 to `most`."""
    found = np.bincount(first, minlength=most + 2)[1 : most + 1]
    return np.asarray(np.cumsum(found) / len(first), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Mean interpolated precision at each recall level, float64 (levels,) each."""

    recall: Floats
    precision: Floats


def precision_recall(answers: Answers, levels: int = LEVELS) -> PrecisionRecall:
    """Interpolated precision at evenly spaced recall levels, averaged over queries.

    The interpolated precision of a query at recall r is the highest precision at any recall of r or
    more, 0 where none is reached; at eleven levels this is the curve of TREC. Manning, Raghavan and
    Schütze, Introduction to Information Retrieval (2008), section 8.4. The area below it is a
    little more than mAP, which interpolates nothing. Empty precision where no query counts.
    """
    at = np.linspace(0, 1, levels)
    rows = [_interpolated(a, at) for a in answers.answers if a.total]
    return PrecisionRecall(at, np.mean(rows, axis=0) if rows else np.zeros(0))


def _interpolated(answer: Answer, at: Floats) -> Floats:
    """Interpolated precision of one query at rising recall levels."""
    ranks = np.asarray(answer.ranks, np.float64)
    found = np.arange(1, len(ranks) + 1)
    best = np.maximum.accumulate((found / ranks)[::-1])[::-1]
    needed = np.ceil(at * answer.total - 1e-9).astype(np.int64)  # relevant images to reach a level
    place = np.maximum(needed, 1) - 1
    reached = place < len(ranks)
    made = np.zeros(len(at))
    made[reached] = best[place[reached]]
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How the scores of relevant and of irrelevant pairs lie, over all queries together.

    relevant, irrelevant int64 (`SCORE_BINS`,) count pairs of a query and an image; the next are NaN
    where one of them is empty. `auc` is the chance that a relevant pair scores above an irrelevant
    one, ties half (Hanley and McNeil, Radiology 1982). At the score `threshold` as many relevant
    pairs lie below as irrelevant ones above, a share `equal_error` of each. `overlap` is the area
    that both histograms share, in bins of .02 (Inman and Bradley, 1989): 0 apart, 1 alike. All are
    computed from counts, so exact to a bin of .001.
    """

    relevant: Ids
    irrelevant: Ids
    auc: float
    equal_error: float
    threshold: float
    overlap: float


def score_split(answers: Answers) -> Scores:
    """How well scores alone tell relevant pairs from irrelevant ones."""
    pooled = [np.asarray(a.relevant_scores, np.float64) for a in answers.answers]
    relevant = score_counts(np.concatenate(pooled) if pooled else np.zeros(0))
    irrelevant: Ids = np.zeros(SCORE_BINS, np.int64)
    if len(answers.irrelevant):
        irrelevant += np.asarray(answers.irrelevant, np.int64)
    nan = float("nan")
    if not relevant.sum() or not irrelevant.sum():
        return Scores(relevant, irrelevant, nan, nan, nan, nan)
    right, wrong = relevant / relevant.sum(), irrelevant / irrelevant.sum()
    below = np.cumsum(wrong) - wrong
    error, threshold = _equal_error(relevant, irrelevant)
    return Scores(
        relevant, irrelevant,
        auc=float((right * (below + wrong / 2)).sum()),
        equal_error=error, threshold=threshold,
        overlap=float(np.minimum(coarse(right), coarse(wrong)).sum()),
    )  # fmt: skip


def coarse(counts: Floats, bins: int = 100) -> Floats:
    """Counts over [-1, 1] in fewer bins (of .02 where there are 100): (n,) → (bins,)."""
    return np.asarray(counts.reshape(bins, -1).sum(axis=1))


def _equal_error(relevant: Ids, irrelevant: Ids) -> tuple[float, float]:
    """Share of both errors where they are equal, and the score there.

    At a bin's lower edge, missed is the share of relevant pairs below and let through that of
    irrelevant pairs above; one rises, the other falls. Between two edges both are straight lines;
    where a gap parts the two, its middle is taken.
    """
    missed = np.concatenate([[0], np.cumsum(relevant)]) / relevant.sum()
    left = np.concatenate([[0], np.cumsum(irrelevant)])
    through = (left[-1] - left) / left[-1]
    apart = missed - through
    after = int(np.argmax(apart >= 0))
    if apart[after] == 0:
        last = int(np.flatnonzero(apart == 0)[-1])
        return float(missed[after]), float(-1 + (after + last) / len(relevant))
    before = after - 1
    part = -apart[before] / (apart[after] - apart[before])
    error = missed[before] + part * (missed[after] - missed[before])
    return float(error), float(-1 + (before + part) * 2 / len(relevant))
