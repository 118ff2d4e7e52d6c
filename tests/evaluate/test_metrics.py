"""Metrics: cases made by hand, and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cbir.evaluate import average_precision, map_at_r, precision_at_k, recall_at_k


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
