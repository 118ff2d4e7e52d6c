"""The report of a training: whole, escaped; in a browser nothing sticks out and all is legible."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from cbir.present.album import Shot
from cbir.present.html import write_page
from cbir.present.recall_page import Value
from cbir.present.training_page import Change, Check, Example, TrainingReport, training_page
from tests.present.browser import CONTRAST, show
from tests.present.conftest import Gallery
from tests.present.test_recall_page_in_browser import CUT, PLOTS


def report(gallery: Gallery) -> TrainingReport:
    """Numbers that were made up, pictures that are there (and some that are not)."""
    hits = [Shot(path, "a class with a long name " * 3, i + 1, 0.9 - i / 10, i % 2 == 0)
            for i, path in enumerate(gallery.pictures[:5])]  # fmt: skip
    cases = tuple(
        Example(Shot(path, "<b>class</b>"), tuple(hits), tuple(hits[::-1]), (0.25, 0.75))
        for path in (gallery.pictures[6], gallery.odd[0], gallery.gone)
    )
    change = Change("MAP@R", "precision", 0.5, 0.75, Value(0.25, 0.125, 0.375))
    return TrainingReport(
        title="Fine-tuning: <net> on photos\x1b[31m", facts=("12 pictures", "3 epochs"),
        verdict="It is better on the validation pictures.", tone="good-news",
        checks=(Check("Validation", (change,)), Check("By labels", (change,))),
        split=(("To learn from", "10 pictures, 3 classes"),), losses=(9.5, 4.0, 2.5),
        validation={"recall@1": [0.5, 0.75, 0.7], "mAP": [0.4, 0.6, 0.6], "MAP@R": [0.3, 0.5, 0.5]},
        best=2, gained=cases, lost=cases[:1],
        recipe=(("loss", "proxy-anchor"), ("augmentation: crop", "0.3"), ("seed", "0")),
        notes=("1 file could not be read, and took no part.",), date="2026-11-24",
    )  # fmt: skip


def test_everything_is_there_and_escaped(gallery: Gallery) -> None:
    page = training_page(report(gallery))
    for text in ("Fine-tuning: &lt;net&gt; on photos", "It is better", ".500", ".750", "+.250",
                 "+.125\u00a0to +.375", "AP .250 before", "AP .750 after", "proxy-anchor",
                 "&lt;b&gt;class&lt;/b&gt;", "Gained most", "Lost most",
                 "1 file could not"):  # fmt: skip
        assert text in page.html, text
    assert "\x1b" not in page.html and "<script" not in page.html and "<net>" not in page.html
    assert page.missing == 1 and page.pictures == 4 * 11
    assert page.html.count("<svg") == 2
    assert training_page(report(gallery)) == page


def test_without_validation_epochs_or_examples(gallery: Gallery) -> None:
    bare = replace(report(gallery), checks=(), losses=(), validation={}, gained=(), lost=(),
                   tone="", notes=())  # fmt: skip
    page = training_page(bare)
    assert "Nothing was kept for validation" in page.html and "<svg" not in page.html
    assert "Gained most" not in page.html
    curve = training_page(replace(bare, losses=(3.0,)))
    assert curve.html.count("<svg") == 1
    nothing = Change("mAP", "x", math.nan, math.nan, Value(math.nan))
    assert "-" in training_page(replace(bare, checks=(Check("V", (nothing,)),))).html


@pytest.fixture(scope="module")
def address(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("training") / "report.html"
    write_page(file, training_page(report(gallery)).html)
    return file.as_uri()


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 800, 1280, 1920])
def test_nothing_sticks_out_and_all_is_legible(browser: Any, address: str, width: int) -> None:
    for scheme in ("light", "dark"):
        show(browser, address, width, scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(CUT) == []
        found = browser.execute_script(CONTRAST)
        assert len(found) > 60
        assert [item for item in found if item[1] < 4.5] == []
        for plot in browser.execute_script(PLOTS):
            assert plot["overlaps"] == [] and plot["inside"] and plot["contrast"] >= 4.5
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 44 and min(sizes) > 0
