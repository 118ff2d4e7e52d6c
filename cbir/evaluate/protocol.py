"""Running a protocol: every query ranked against the gallery; raw answers first, metrics later.

The answers keep, for each query, its first hits and the rank of every relevant image, with the
query itself (by its position) and junk taken out before ranks are counted. Every metric follows
from that, so a change of a metric needs neither embedding nor searching again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cbir.errors import UsageError
from cbir.evaluate import metrics
from cbir.evaluate.answers import SCORE_BINS, Pictures, score_counts
from cbir.evaluate.answers import Answer as Answer  # named here too: what `rank` returns
from cbir.evaluate.answers import Answers as Answers
from cbir.evaluate.ground_truth import Query, Truth
from cbir.types import Ids, Vectors

DEPTH = 100
"""Hits kept of each query."""

BLOCK = 256
"""Queries ranked at a time: bounds memory at 256 x n scores."""


def rank(truth: Truth, queries: Vectors, gallery: Vectors, system: str) -> Answers:
    """Rank the gallery for every query by cosine; equal scores by position.

    queries float32 (q, d), gallery float32 (n, d), unit rows, in the order of the truth.
    """
    if len(queries) != len(truth.queries) or len(gallery) != len(truth.gallery):
        raise UsageError(
            f"vectors: expected {len(truth.queries)} queries and {len(truth.gallery)} of the "
            f"gallery; received {len(queries)} and {len(gallery)}."
        )
    made: list[Answer] = []
    irrelevant: Ids = np.zeros(SCORE_BINS, np.int64)
    for start in range(0, len(queries), BLOCK):
        scores = queries[start : start + BLOCK] @ gallery.T
        for query, row in zip(truth.queries[start : start + BLOCK], scores, strict=True):
            keep = _counted(query, len(row))
            made.append(_answer(truth, query, row, keep))
            keep[query.relevant] = False
            irrelevant += score_counts(row[keep])
    named = [i for a in made for i in (a.image, a.first, *a.hits) if i is not None]
    return Answers(
        truth.name, system, len(gallery), tuple(made),
        irrelevant=irrelevant.tolist(), pictures=Pictures.of(truth, named),
    )  # fmt: skip


def _counted(query: Query, length: int) -> metrics.Flags:
    """Bool (length,): the gallery without the query itself and its junk."""
    keep = np.ones(length, bool)
    keep[query.junk] = False
    if query.own is not None:
        keep[query.own] = False
    return keep


def _answer(truth: Truth, query: Query, scores: Vectors, keep: metrics.Flags) -> Answer:
    """One answer: self and junk out, then ranks."""
    places: Ids = np.flatnonzero(keep)
    order = places[np.argsort(-scores[places], kind="stable")]
    return answer_of(truth, query, order, scores[order])


def answer_of(truth: Truth, query: Query, order: Ids, scores: Vectors) -> Answer:
    """One answer from a ranking that self and junk are out of already.

    order int64 (m,), places in the gallery, best first; scores float32 (m,). A relevant image that
    did not come has no rank. Scores are rounded here, not only when they are stored, so that stored
    answers give the very numbers of the first run.
    """
    where = np.zeros(len(truth.gallery), np.int64)
    where[order] = np.arange(1, len(order) + 1)
    ranks = where[query.relevant]
    came = np.flatnonzero(ranks)
    by_rank = came[np.argsort(ranks[came], kind="stable")]
    relevant, ranks = query.relevant[by_rank], ranks[by_rank]
    return Answer(
        image=query.image,
        hits=truth.gallery[order[:DEPTH]].tolist(),
        scores=_rounded(scores[:DEPTH]),
        ranks=ranks.tolist(),
        relevant_scores=_rounded(scores[ranks - 1]),
        total=len(query.relevant),
        first=int(truth.gallery[relevant[0]]) if len(relevant) else None,
        crop=query.crop,
    )


def _rounded(scores: Vectors) -> list[float]:
    rounded: list[float] = np.round(scores.astype(np.float64), 6).tolist()
    return rounded


KS = (1, 5, 10)


def per_query(answers: Answers) -> dict[str, list[float]]:
    """Metric name → one value a query; NaN for queries without a relevant image."""
    found: dict[str, list[float]] = {}
    for answer in answers.answers:
        for name, value in _values(answer, answers.gallery).items():
            found.setdefault(name, []).append(value)
    return found


def _values(answer: Answer, gallery: int) -> dict[str, float]:
    """All metrics of one query."""
    total = answer.total
    if not total:
        return dict.fromkeys(NAMES, float("nan"))
    length = max(gallery, *KS, max(answer.ranks, default=0))
    flags = answer.flags(length)
    values = {f"recall@{k}": metrics.recall_at_k(flags, k) for k in KS}
    values["mAP"] = metrics.average_precision(flags, total)
    values["mAP-trapezoid"] = metrics.average_precision_trapezoid(flags, total)
    values["MAP@R"] = metrics.map_at_r(flags, total)
    values["R-precision"] = metrics.r_precision(flags, total)
    values["P@10"] = metrics.precision_at_k(flags, 10)
    values["P@10-clipped"] = metrics.clipped_precision_at_k(flags, 10)
    values["relevant-recall@10"] = metrics.relevant_recall_at_k(flags, 10, total)
    values["nDCG@10"] = metrics.ndcg(flags, 10, total)
    return values


NAMES = (
    "recall@1", "recall@5", "recall@10", "mAP", "mAP-trapezoid", "MAP@R", "R-precision", "P@10",
    "P@10-clipped", "relevant-recall@10", "nDCG@10",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over the queries that have a relevant image, with 95 % bootstrap intervals."""

    queries: int
    without_relevant: int
    gallery: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def summarise(answers: Answers, seed: int = 0) -> Summary:
    """The metrics of stored answers: the same answers give the same numbers, always.

    Groups of n files have the metric N-S too.
    """
    found = per_query(answers)
    names: tuple[str, ...] = NAMES
    if group := int(answers.about.get("groups", 0)):
        names = (*NAMES, "N-S")
        found["N-S"] = [
            metrics.n_s(a.flags(max([group, *a.ranks])), group) for a in answers.answers
        ]
    return Summary(
        queries=sum(1 for a in answers.answers if a.total),
        without_relevant=sum(1 for a in answers.answers if not a.total),
        gallery=answers.gallery,
        metrics={name: metrics.mean(found.get(name, [])) for name in names},
        intervals={name: metrics.bootstrap_interval(found.get(name, []), seed) for name in names},
    )


def compare(first: Answers, second: Answers, metric: str) -> tuple[float, float, float]:
    """Mean of second - first over the same queries, with its paired 95 % interval.

    Raises UsageError where the queries differ, or the metric is unknown.
    """
    if [a.image for a in first.answers] != [a.image for a in second.answers]:
        raise UsageError("compare: expected answers to the same queries; they differ.")
    if metric not in NAMES:
        raise UsageError(f"compare: expected one of {', '.join(NAMES)}; received {metric!r}.")
    return metrics.paired_difference(per_query(first)[metric], per_query(second)[metric])
