"""The page of self-made queries: safe, complete, right in a browser at every width."""

from __future__ import annotations

import math
from typing import Any

import pytest
from PIL import Image

from cbir.present.html import write_page
from cbir.present.recall_page import Value
from cbir.present.self_page import EditBar, Example, Miss, SelfPageReport, _edited, self_page
from tests.present.browser import CONTRAST, show
from tests.present.conftest import Gallery

NAN = math.nan


def bar(name: str, value: float, floor: float = 0.4) -> EditBar:
    return EditBar(name, Value(value, value - 0.1, value), value, value, floor)


def report(gallery: Gallery, floor: float = 0.4, failures: bool = True) -> SelfPageReport:
    """Two kinds of edits; examples with odd names, a broken file and one that is gone."""
    files = [*gallery.odd, gallery.broken, gallery.gone]
    misses = tuple(Miss(file, gallery.pictures[i], 0.5, i % 11) for i, file in enumerate(files))
    flip, turn = bar("flip", 0.9, floor), bar("turn-90", 0.25, floor)
    unknown = Example(bar("melt-5", 0.5, floor), misses[:1], 1)
    return SelfPageReport(
        "<b>photos</b> 日本", "net & co", ("12 pictures", "net & co"), bar("all", 0.575, floor),
        ((bar("turn", 0.575, floor), (flip, turn)), (bar("part", 0.5, floor), ())),
        (Example(turn, misses, 20), unknown) if failures else (),
        (("Gallery", "<b>photos</b>"),), 64, "2026-01-01 00:00",
    )  # fmt: skip


def test_everything_is_on_the_page_and_nothing_is_code(gallery: Gallery) -> None:
    made = self_page(report(gallery))
    page = made.html
    assert made.pictures == page.count("data:image/jpeg;base64,") == 3 * (len(gallery.odd) + 3)
    assert made.missing == 2
    assert "<b>photos" not in page and "<script" not in page and "onerror=alert(1)>" not in page
    assert "8 examples of 20 failures" in page and "source not among the first ten" in page
    assert "source at rank 1" in page and "recall@1 .250" in page and "floor .400" in page
    assert "2 files could not be read now" in page


def test_without_floor_or_failures(gallery: Gallery) -> None:
    page = self_page(report(gallery, NAN, failures=False)).html
    assert "floor" not in page.split("<body>")[1]
    assert "found its source first" in page and 'href="#failures"' not in page


def test_the_edited_picture_is_made_again(gallery: Gallery) -> None:
    whole, half = _edited(gallery.pictures[0], "flip", 16), _edited(gallery.pictures[0], "grey", 16)
    with Image.open(gallery.pictures[0]) as source:
        assert whole.image.width / whole.image.height == pytest.approx(
            source.width / source.height, rel=0.1
        )
    red, green, blue = half.image.split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert _edited(gallery.pictures[0], "melt-5", 16).problem == "an edit of another cbir"
    assert _edited(gallery.gone, "flip", 16).problem and _edited(gallery.broken, "flip", 16).problem


OUT = """
return [...document.querySelectorAll('.card, .card *:not(.unseen), .facts, h1, h3')]
  .filter(e => !e.closest('.unseen, .cut, .bar, .box')
    && getComputedStyle(e).display != 'inline' && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 40));
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 360, 800, 1280, 1920])
def test_nothing_sticks_out(
    browser: Any, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory, width: int
) -> None:
    file = tmp_path_factory.mktemp("self") / "page.html"
    write_page(file, self_page(report(gallery)).html)
    show(browser, file.as_uri(), width)
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= window.innerWidth"
    )
    assert browser.execute_script(OUT) == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(
    browser: Any, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    file = tmp_path_factory.mktemp("self") / "page.html"
    write_page(file, self_page(report(gallery)).html)
    show(browser, file.as_uri(), 1280, scheme)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 60 and [item for item in found if item[1] < 4.5] == []
