"""Metrics: cases made by hand, and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cbir.evaluate import (
    average_precision,
    average_precision_trapezoid,
    bootstrap_interval,
    clipped_precision_at_k,
    index_recall_at_k,
    index_recall_by_id,
    map_at_r,
    mean,
    n_s,
    ndcg,
    paired_difference,
    precision_at_k,
    r_precision,
    recall_at_k,
    relevant_recall_at_k,
)


def flags(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


@pytest.mark.parametrize(
    ("ranking", "k", "recall", "precision"),
    [
        ("0100", 1, 0, 0),
        ("0100", 2, 1, 0.5),
        ("1101", 3, 1, 2 / 3),
        ("", 5, 0, 0),
        ("1", 4, 1, 0.25),
    ],
)
def test_at_k(ranking: str, k: int, recall: float, precision: float) -> None:
    assert recall_at_k(flags(ranking), k) == recall
    assert precision_at_k(flags(ranking), k) == pytest.approx(precision)


@pytest.mark.parametrize(
    ("ranking", "total", "expected"),
    [
        ("01", 1, 0.5),  # one relevant at rank 2: rectangle rule, not .25
        ("101", 2, (1 + 2 / 3) / 2),
        ("111", 3, 1),
        ("100", 4, 0.25),  # three relevant were not returned
        ("000", 2, 0),
    ],
)
def test_average_precision(ranking: str, total: int, expected: float) -> None:
    assert average_precision(flags(ranking), total) == pytest.approx(expected)


def test_without_relevant_images_it_is_undefined() -> None:
    assert math.isnan(average_precision(flags("000"), 0)) and math.isnan(map_at_r(flags("0"), 0))


def test_map_at_r_stops_at_r() -> None:
    assert map_at_r(flags("1010"), 2) == pytest.approx(0.5)
    assert map_at_r(flags("0011"), 2) == 0
    assert map_at_r(flags("0110"), 3) == pytest.approx((1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevant = rng.random(50) < 0.3
    total = int(relevant.sum()) + int(rng.integers(0, 3))
    found, whole, first = 0, 0.0, 0.0
    for place, is_relevant in enumerate(relevant, start=1):
        if is_relevant:
            found += 1
            whole += found / place
            if place <= total:
                first += found / place
    assert average_precision(relevant, total) == pytest.approx(whole / total)
    assert map_at_r(relevant, total) == pytest.approx(first / total)


def test_trapezoid_and_rectangle_differ() -> None:
    """One relevant image at rank 2: .25 against .50; at rank 1 both are 1."""
    assert average_precision_trapezoid(flags("01"), 1) == pytest.approx(0.25)
    assert average_precision(flags("01"), 1) == pytest.approx(0.5)
    assert average_precision_trapezoid(flags("10"), 1) == 1
    assert average_precision_trapezoid(flags("111"), 3) == pytest.approx(1)
    assert math.isnan(average_precision_trapezoid(flags("0"), 0))


@pytest.mark.parametrize("seed", range(10))
def test_trapezoid_against_the_precision_recall_curve(seed: int) -> None:
    """The area below the curve through (0, 1) and every place, as a plain loop."""
    relevant = np.random.default_rng(seed).random(40) < 0.2
    total = int(relevant.sum()) + 1
    area, recall, precision, found = 0.0, 0.0, 1.0, 0
    for place, is_relevant in enumerate(relevant, start=1):
        found += bool(is_relevant)
        new_recall, new_precision = found / total, found / place
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    assert average_precision_trapezoid(relevant, total) == pytest.approx(area)


def test_clipped_precision() -> None:
    """Three relevant images at ranks 1 to 3: 1.0 clipped, .3 plain."""
    ranking = flags("1110000000")
    assert clipped_precision_at_k(ranking, 10) == 1
    assert precision_at_k(ranking, 10) == pytest.approx(0.3)
    assert clipped_precision_at_k(flags("0100"), 10) == pytest.approx(0.5)
    assert clipped_precision_at_k(flags("0000"), 10) == 0


def test_three_recalls_are_three() -> None:
    ranking = flags("0101")
    assert recall_at_k(ranking, 2) == 1
    assert relevant_recall_at_k(ranking, 2, 4) == 0.25
    assert math.isnan(relevant_recall_at_k(ranking, 2, 0))
    exact = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
    found = np.array([[0.9, 0.7, 0.6, 0.5]], np.float32)
    assert index_recall_at_k(found, exact, 3) == pytest.approx(2 / 3)


def test_index_recall_counts_ties_by_distance() -> None:
    """Two images are equally near: either of them is right, though their ids differ."""
    exact = np.array([[0.9, 0.8, 0.8]], np.float32)
    assert index_recall_at_k(exact.copy(), exact, 2) == 1
    assert index_recall_by_id(np.array([[1, 3, 2]]), np.array([[1, 2, 3]]), 2) == 0.5
    assert index_recall_by_id(np.array([[1, 3, 2]]), np.array([[1, 2, 3]]), 3) == 1
    assert math.isnan(index_recall_at_k(exact[:0], exact[:0], 2))
    missing = np.array([[0.9, -np.inf, -np.inf]], np.float32)
    assert index_recall_at_k(missing, exact, 2) == 0.5


def test_r_precision_and_n_s() -> None:
    assert r_precision(flags("1010"), 2) == 0.5 and math.isnan(r_precision(flags("0"), 0))
    assert n_s(flags("1110")) == 3 and n_s(flags("11111")) == 4 and n_s(flags("1100"), 2) == 2


def test_ndcg() -> None:
    ideal = 1 + 1 / math.log2(3)
    assert ndcg(flags("110"), 3, 2) == pytest.approx(1)
    assert ndcg(flags("011"), 3, 2) == pytest.approx((1 / math.log2(3) + 0.5) / ideal)
    assert ndcg(flags("1"), 5, 2) == pytest.approx(1 / ideal)
    assert math.isnan(ndcg(flags("0"), 5, 0))


def test_means_leave_queries_without_relevant_images_out() -> None:
    assert mean([1.0, math.nan, 0.0]) == 0.5 and math.isnan(mean([math.nan]))
    low, high = bootstrap_interval([1.0, math.nan, 1.0])
    assert (low, high) == (1, 1)
    assert all(math.isnan(x) for x in bootstrap_interval([]))


def test_intervals_are_those_of_the_normal_law() -> None:
    values = np.random.default_rng(0).random(400)
    low, high = bootstrap_interval(values.tolist(), rounds=4000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.003)
    assert high == pytest.approx(values.mean() + half, abs=0.003)
    assert bootstrap_interval(values.tolist()) == bootstrap_interval(values.tolist())


def test_pairs_are_drawn_together() -> None:
    hard = np.random.default_rng(1).random(300)
    better = np.clip(hard + 0.05, 0, 2)
    difference, low, high = paired_difference(hard.tolist(), better.tolist())
    assert difference == pytest.approx(0.05) and 0.049 < low <= high < 0.051
    one = bootstrap_interval(hard.tolist())
    assert one[1] - one[0] > 0.05
    with pytest.raises(ValueError):
        paired_difference([1.0], [1.0, 2.0])


def test_a_self_match_is_not_the_nearest_when_images_are_identical() -> None:
    """Removed by id: of two identical images, each is the other's hit, and the first by rank would
    be the wrong one to drop for one of them."""
    ids, scores = np.array([1, 2, 3]), np.array([1.0, 1.0, 0.2])
    for query, other in ((1, 2), (2, 1)):
        order = np.lexsort((ids, -scores))
        kept = [int(i) for i in ids[order] if i != query]
        assert kept[0] == other
        by_rank = ids[order][1:]
        assert (int(by_rank[0]) == other) is (query == 1)
