from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.present.numbers import (
    between,
    count,
    counts,
    human_duration,
    human_size,
    number,
    percent,
    score_text,
    signed,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (17_000_000, "17 MB"),
        (3 * 10**9, "3.0 GB"),
        (10**21, "1,000 EB"),
    ],
)
def test_human_size(size: int, expected: str) -> None:
    assert human_size(size) == expected


@given(st.integers(0, 10**20))
def test_human_size_is_near(size: int) -> None:
    number, unit = human_size(size).split()
    factor = 1000 ** ["B", "kB", "MB", "GB", "TB", "PB", "EB"].index(unit)
    assert float(number) * factor == pytest.approx(size, rel=0.051)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 ms"),
        (0.0004, "0.4 ms"),
        (0.01234, "12.3 ms"),
        (0.0999, "99.9 ms"),
        (0.85, "850 ms"),
        (0.9999, "1.0 s"),
        (1.24, "1.2 s"),
        (45.3, "45 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3599.9, "1 h"),
        (11_400, "3 h 10 min"),
        (86_399, "1 d"),
        (183_600, "2 d 3 h"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_human_duration(seconds: float, expected: str) -> None:
    assert human_duration(seconds) == expected


def test_count() -> None:
    assert count(0, "hit") == "0 hits"
    assert count(1, "hit") == "1 hit"
    assert count(12_345, "query", "queries") == "12,345 queries"


def test_counts() -> None:
    assert counts({"image": 1200, "failure": 1, "root": 0}) == "1,200 images, 1 failure"
    assert counts({"image": 0}) == "nothing"
    assert counts({}) == "nothing"


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.0, "0%"),
        (0.0001, "1%"),
        (0.5, "50%"),
        (0.996, "99%"),
        (1.0, "100%"),
        (math.nan, "-"),
    ],
)
def test_percent(probability: float, expected: str) -> None:
    assert percent(probability) == expected


def test_score_text() -> None:
    assert score_text(0.98765) == "0.988"
    assert score_text(-0.25) == "-0.250"
    assert score_text(-0.0001) == "0.000"
    assert score_text(math.nan) == "-"


def test_metrics_and_differences() -> None:
    nan = math.nan
    assert [number(v) for v in (0.7714, -0.25, -0.0001, 1, nan)] == [
        ".771", "-.250", ".000", "1.000", "-",
    ]  # fmt: skip
    assert [signed(v) for v in (0.0123, -0.0123, 0.0001, -0.0001, 0, nan)] == [
        "+.012", "-.012", ".000", ".000", ".000", "-",
    ]  # fmt: skip
    assert signed(-0.25, "−") == "−.250" and signed(nan, "−") == "-"
    assert between((0.1, 0.25)) == ".100 to .250" and between((nan, nan)) == "- to -"
