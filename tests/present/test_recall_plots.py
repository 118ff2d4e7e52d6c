"""The report's plots: valid, of the page's colours, true to their numbers, whatever is missing."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as tree

import numpy as np
import pytest

from cbir.present.recall_plots import (
    Histogram,
    Line,
    precision_recall_plot,
    recall_plot,
    scores_plot,
)
from tests.present.reports import NONE, curves, line


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in tree.fromstring(svg).iter("text")]


def test_recall() -> None:
    drawn = recall_plot(*curves().recall)
    found = texts(drawn)
    assert {"1", "2", "5", "10", "20", "50", "100", ".25", ".75", "recall@k"} <= set(found)
    label = tree.fromstring(drawn).get("aria-label")
    assert label is not None
    assert "net <b> 0.700 at k 1, 0.940 at k 5, 0.970 at k 10, 0.997 at k 100" in label
    assert "colour 0.300 at k 1" in label
    assert "var(--series-1)" in drawn and "var(--soft)" in drawn and "stroke-dasharray" in drawn


def test_precision_and_recall() -> None:
    drawn = precision_recall_plot(*curves().precision)
    assert {"recall", "precision", "0", ".5", "1"} <= set(texts(drawn))
    assert drawn.count("<use") >= 11  # a dot for each of the eleven levels


def test_curves_are_where_their_numbers_are() -> None:
    """The system's line from its first point to its last falls by the share that it should."""
    x = np.linspace(0, 1, 5)
    drawn = precision_recall_plot(line("a", x, np.array([1, 0.8, 0.6, 0.4, 0.5])),
                                  line("b", x, np.zeros(5)))  # fmt: skip
    paths = [e.get("d") or "" for e in tree.fromstring(drawn).iter("path")
             if "--series-1" in (e.get("style") or "")]  # fmt: skip
    ys = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", paths[-1])]
    floor = [e.get("d") or "" for e in tree.fromstring(drawn).iter("path")
             if "--soft" in (e.get("style") or "")]  # fmt: skip
    zero = float(re.findall(r"[ML] [\d.]+ ([\d.]+)", floor[0])[0])
    heights = [zero - y for y in ys]
    assert [h / heights[0] for h in heights] == pytest.approx([1, 0.8, 0.6, 0.4, 0.5], abs=0.01)


def test_scores_are_cut_to_what_occurs() -> None:
    drawn = scores_plot(curves().scores)  # type: ignore[arg-type]
    found = texts(drawn)
    assert any(text.endswith("%") for text in found) and "−1" not in found and "0" in found
    assert "equal error at 0.253" in (tree.fromstring(drawn).get("aria-label") or "")
    assert "var(--series-2)" in drawn and "var(--series-3)" in drawn
    lonely = np.zeros(100)
    lonely[99] = 1
    whole = scores_plot(Histogram(lonely, lonely, math.nan))
    assert "equal error" not in whole and tree.fromstring(whole) is not None


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100])
def test_short_curves_and_none(length: int) -> None:
    x = np.arange(1.0, length + 1)
    short = Line("s", x, np.full(length, 0.5), NONE, NONE)
    for drawn in (recall_plot(short, short), precision_recall_plot(short, short)):
        assert tree.fromstring(drawn).get("role") == "img"
        assert ("nothing" in (tree.fromstring(drawn).get("aria-label") or "")) == (length == 0) or (
            "Precision" in drawn
        )


def test_the_same_numbers_give_the_same_text() -> None:
    assert recall_plot(*curves().recall) == recall_plot(*curves().recall)
