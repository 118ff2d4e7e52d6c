"""The page of learning curves: whole, escaped, with one line for each curve."""

from __future__ import annotations

import re
import xml.etree.ElementTree as tree
from dataclasses import replace

import pytest

from cbir.present.probe_page import Curve, Grid, ProbeReport, probe_page

REPORT = ProbeReport(
    title="How few <labels>?",
    facts=("8 training images", "7 test images"),
    headlines=("cnn with 1 image a class does what old does with all.",),
    curves=(
        Curve("cnn & co, linear SVM", 0, 0, ((1, 0.5, 0.4, 0.6), (40, 0.9, 0.85, 0.95))),
        Curve("cnn & co, k-NN", 0, 1, ((1, 0.4, 0.3, 0.5), (40, 0.8, 0.75, 0.85))),
        Curve("old", 1, 0, ((1, 0.1, 0.05, 0.2), (40, 0.6, 0.5, 0.7))),
    ),
    ticks=((1, "1"), (40, "all (40)")),
    grids=(Grid("Accuracy", ("embedder", "classifier", "1"), (("a<b", "k-NN", ".5 ±.1"),)),),
    notes=("A note\x1b[31m.",),
)


def drawn(page: str) -> tree.Element:
    found = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert found
    # The one prefix that a page's parser knows by itself.
    return tree.fromstring(
        found[0].replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
    )


def test_everything_is_there_and_escaped() -> None:
    page = probe_page(REPORT)
    assert "How few &lt;labels&gt;?" in page and "a&lt;b" in page and "<labels>" not in page
    assert "\x1b" not in page and "<script" not in page
    for text in (*REPORT.facts, *REPORT.headlines, "Accuracy", ".5 ±.1", "k-NN"):
        assert text in page
    texts = {one.text for one in drawn(page).iter("text")}
    assert {"1", "all (40)", "cnn & co, linear SVM", "cnn & co, k-NN", "old"} <= texts
    assert probe_page(REPORT) == page


def test_colour_is_the_embedder_and_dashes_are_the_classifier() -> None:
    page = probe_page(REPORT)
    lines = [
        one.get("style", "")
        for one in drawn(page).iter("path")
        if "stroke-width: 1.8" in one.get("style", "")
    ]
    plotted = lines[:3]  # the legend's come after
    assert ["--series-1" in line for line in plotted] == [True, True, False]
    assert ["stroke-dasharray" in line for line in plotted] == [False, True, False]
    assert page.count("opacity: 0.14") == 3


@pytest.mark.parametrize("many", [1, 12])
def test_one_curve_and_more_than_there_are_colours(many: int) -> None:
    curves = tuple(Curve(f"c{i}", i, i, ((5, 0.5, 0.4, 0.6),)) for i in range(many))
    page = probe_page(replace(REPORT, curves=curves, headlines=(), ticks=((5, "5"),), date="now"))
    texts = [one.text for one in drawn(page).iter("text")]
    assert sum(text is not None and text.startswith("c") for text in texts) == many
    assert 'class="headlines"' not in page and "on now" in page
