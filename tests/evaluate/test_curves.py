"""Curves of a report: hand-made cases and plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from cbir.evaluate.answers import SCORE_BINS, Answer, Answers, score_counts
from cbir.evaluate.curves import coarse, precision_recall, recall_curve, score_split
from cbir.evaluate.metrics import average_precision, bootstrap_interval
from tests.evaluate.helpers import labelled


def answer(ranks: Sequence[int], total: int | None = None, scores: Sequence[float] = ()) -> Answer:
    return Answer(0, [], [], ranks, scores, len(ranks) if total is None else total)


def of(*answers: Answer, gallery: int = 10, irrelevant: Sequence[int] = ()) -> Answers:
    return Answers("t", "x", gallery, answers, irrelevant=irrelevant)


def test_recall_by_hand() -> None:
    """First ranks 1, 3, none returned; one query has nothing to find."""
    made = of(answer([1, 9]), answer([3]), answer([], total=2), answer([]), gallery=5)
    assert recall_curve(made).recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert len(recall_curve(made, most=2).recall) == 2


def test_recall_and_its_band_are_those_of_the_summary_at_every_k() -> None:
    _, answers = labelled()
    found = recall_curve(answers)
    assert len(found.recall) == 100
    for k in (1, 2, 5, 10, 37, 100):
        flags = [float(a.ranks[0] <= k) for a in answers.answers if a.total]
        assert found.recall[k - 1] == sum(flags) / len(flags)
        band = (found.low[k - 1], found.high[k - 1])
        assert band == pytest.approx(bootstrap_interval(flags), abs=1e-12)
    assert (np.diff(found.recall) >= 0).all() and found.low[0] < found.recall[0] < found.high[0]


def test_precision_recall_by_hand() -> None:
    """Relevant at ranks 1, 4, 5 of four: precisions 1, 1/2, 3/5, and the fourth never came.

    Interpolated: 1 up to recall .25, 3/5 up to .75 (1/2 at .5 is lifted), then 0.
    """
    found = precision_recall(of(answer([1, 4, 5], total=4)), levels=11)
    wanted = [1, 1, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0, 0, 0]
    assert found.precision.tolist() == pytest.approx(wanted)
    assert found.recall.tolist() == pytest.approx([i / 10 for i in range(11)])


def test_levels_are_met_exactly() -> None:
    """Ten relevant images: the level .3 needs three of them, not four, whatever rounding does."""
    found = precision_recall(of(answer([1, 2, 3, *range(11, 18)])), levels=11).precision
    assert found[3] == 1 and found[4] == pytest.approx(10 / 17)


def test_precision_recall_against_a_plain_loop() -> None:
    _, answers = labelled()
    found = precision_recall(answers)
    rows, ap = [], []
    for one in answers.answers:
        if not one.total:
            continue
        points = [((i + 1) / one.total, (i + 1) / r) for i, r in enumerate(one.ranks)]
        rows.append([
            max((p for recall, p in points if recall >= level / 100 - 1e-9), default=0.0)
            for level in range(101)
        ])  # fmt: skip
        ap.append(average_precision(one.flags(answers.gallery), one.total))
    assert found.precision.tolist() == pytest.approx(np.mean(rows, axis=0).tolist())
    area = float(np.trapezoid(found.precision, found.recall))
    assert np.mean(ap) - 0.01 < area < np.mean(ap) + 0.05


def counted(scores: Sequence[float]) -> list[int]:
    return score_counts(np.array(scores)).tolist()


def test_scores_by_hand() -> None:
    """Relevant .9 .7 .3, irrelevant .8 .2 .1 -.5: 9 of 12 pairs are in order."""
    made = of(answer([1, 3], scores=[0.9, 0.7]), answer([2], scores=[0.3]),
              irrelevant=counted([0.8, 0.2, 0.1, -0.5]))  # fmt: skip
    found = score_split(made)
    assert found.auc == pytest.approx((4 + 3 + 3) / 12)
    assert found.relevant.sum() == 3 and found.irrelevant.sum() == 4
    assert 0.25 <= found.equal_error <= 1 / 3 and 0.3 <= found.threshold <= 0.8
    assert found.overlap == 0


def test_scores_that_are_apart_and_scores_that_are_alike() -> None:
    apart = score_split(of(answer([1], scores=[0.6, 0.8]), irrelevant=counted([-0.5, 0.2])))
    assert (apart.auc, apart.equal_error, apart.overlap) == (1, 0, 0)
    assert apart.threshold == pytest.approx(0.4, abs=0.002)  # the middle of the gap
    swapped = score_split(of(answer([1], scores=[-0.5, 0.2]), irrelevant=counted([0.6, 0.8])))
    assert swapped.auc == 0 and swapped.equal_error == 1
    alike = score_split(of(answer([1], scores=[0.1, 0.5]), irrelevant=counted([0.1, 0.5])))
    assert alike.auc == 0.5 and alike.overlap == 1 and alike.equal_error == 0.5


def test_scores_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(0.4, 0.2, 90).clip(-1, 1), rng.normal(0, 0.2, 400).clip(-1, 1)
    found = score_split(of(answer(range(1, 91), scores=right.tolist()),
                           irrelevant=counted(wrong.tolist())))  # fmt: skip
    auc = sum((r > w) + (r == w) / 2 for r in right for w in wrong) / (90 * 400)
    assert found.auc == pytest.approx(auc, abs=2e-3)
    missed = float((right < found.threshold).mean())
    through = float((wrong >= found.threshold).mean())
    assert missed == pytest.approx(found.equal_error, abs=0.012)
    assert through == pytest.approx(found.equal_error, abs=0.012)
    edges = [-1 + i * 0.02 for i in range(101)]
    shared = sum(
        min(float(((v >= a) & (v < b)).mean()) for v in (right, wrong))
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    )
    assert found.overlap == pytest.approx(shared, abs=0.03)


def test_coarse_bins() -> None:
    made = coarse(np.arange(SCORE_BINS))
    assert made.shape == (100,) and made[0] == sum(range(20)) and made.sum() == sum(range(2000))


def test_nothing_to_draw() -> None:
    empty = of(answer([]), answer([]))
    assert len(recall_curve(empty).recall) == 0
    assert len(recall_curve(of(gallery=0)).recall) == 0
    assert len(precision_recall(empty).precision) == 0
    for made in (of(), empty, of(answer([1], scores=[0.5])), of(irrelevant=counted([0.1]))):
        assert math.isnan(score_split(made).auc) and math.isnan(score_split(made).threshold)
