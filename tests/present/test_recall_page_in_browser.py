"""The report in a real browser: nothing sticks out, all is legible, light and dark."""

from __future__ import annotations

from typing import Any

import pytest

from cbir.present.html import write_page
from cbir.present.recall_page import recall_page
from tests.present.browser import CONTRAST, show
from tests.present.conftest import Gallery
from tests.present.reports import empty, report

pytestmark = pytest.mark.browser

WIDTHS = [320, 360, 800, 1280, 1920]

# Whether two boxes lie over each other by more than so many pixels.
MEET = """
const meet = (a, b, x, y) => a.left < b.right - x && b.left < a.right - x
  && a.top < b.bottom - y && b.top < a.bottom - y;
"""

# Text of plots: its height on the screen, its contrast (by `fill`), and what it overlaps.
PLOTS = (
    CONTRAST.split("const found = [];")[0]
    + MEET
    + """
return [...document.querySelectorAll('svg.plot')].map(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const texts = [...svg.querySelectorAll('text')];
  const boxes = texts.map(t => t.getBoundingClientRect());
  const overlaps = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
    if (meet(a, b, 1, 3)) overlaps.push([texts[i].textContent, texts[i + 1 + j].textContent]);
  }));
  return {
    size: Math.min(...texts.map(t => parseFloat(getComputedStyle(t).fontSize) * scale)),
    contrast: Math.min(...texts.map(
      t => Math.min(...behind(svg).map(b => ratio(parse(getComputedStyle(t).fill), b))))),
    inside: boxes.every(b => b.left >= svg.getBoundingClientRect().left - 1
      && b.right <= svg.getBoundingClientRect().right + 1),
    overlaps,
  };
});
"""
)

CUT = """
return [...document.querySelectorAll(
  '.card, .card *:not(.unseen), .case, .case *:not(.unseen), .facts, h1, .notice, .terms *')]
  .filter(e => !e.closest('svg, .unseen, .cut, .bar, .box')
    && getComputedStyle(e).display != 'inline' && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 40));
"""

# Rows of the classes: no name lies over a number or a bar.
ROWS = (
    MEET
    + """
const parts = '.class .cut, .class small, .measure .bar, .measure > span:last-child';
return [...document.querySelectorAll('.classes li')].filter(row => {
  const boxes = [...row.querySelectorAll(parts)].map(e => e.getBoundingClientRect());
  return boxes.some((a, i) => boxes.slice(i + 1).some(b => meet(a, b, .5, .5)));
}).map(row => row.textContent.trim().slice(0, 40));
"""
)


@pytest.fixture(scope="module")
def address(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_page(file, recall_page(report(gallery, 81)).html)
    return file.as_uri()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out(browser: Any, address: str, width: int) -> None:
    show(browser, address, width)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CUT) == []
    assert browser.execute_script(ROWS) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_can_be_read(browser: Any, address: str, width: int, scheme: str) -> None:
    show(browser, address, width, scheme)
    found = browser.execute_script(PLOTS)
    assert len(found) == 3
    for plot in found:
        assert plot["overlaps"] == [] and plot["inside"]
        assert plot["size"] >= (9 if width == 320 else 10) and plot["contrast"] >= 4.5


@pytest.mark.parametrize(
    ("scheme", "media"), [("light", ""), ("dark", ""), ("light", "print"), ("dark", "print")]
)
@pytest.mark.parametrize("width", [360, 1280])
def test_contrast(browser: Any, address: str, width: int, scheme: str, media: str) -> None:
    show(browser, address, width, scheme, media)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 300
    assert [item for item in found if item[1] < 4.5] == []


def test_every_picture_is_there_and_nothing_complains(browser: Any, address: str) -> None:
    browser.get_log("browser")
    show(browser, address, 1280)
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 4 + 11 + 3 + 1 + 11 and min(sizes) > 0
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scripts.length") == 0


def test_bars_are_as_long_as_their_numbers(browser: Any, address: str) -> None:
    show(browser, address, 1280)
    found = browser.execute_script(
        "return [...document.querySelectorAll('.classes .measure')].map(m => ["
        "m.querySelector('i').getBoundingClientRect().width"
        " / m.querySelector('.bar').getBoundingClientRect().width,"
        "parseFloat(m.querySelector(':scope > span:last-child').lastChild.textContent)])"
    )
    assert len(found) == 162
    for length, number in found:
        assert length == pytest.approx(number, abs=0.005)


def test_the_bar_of_parts_leads_to_them(browser: Any, address: str) -> None:
    show(browser, address, 1280)
    links = browser.execute_script(
        "return [...document.querySelectorAll('.parts a')].map(a => a.getAttribute('href'))"
    )
    assert links == ["#summary", "#curves", "#classes", "#confusions", "#worst", "#best", "#terms"]
    for link in links:
        show(browser, address + link, 1280)
        below = browser.execute_script(
            "return document.querySelector(location.hash).getBoundingClientRect().top"
            " - document.querySelector('.parts').getBoundingClientRect().bottom"
        )
        assert below >= -1, link


@pytest.mark.parametrize("width", [360, 1280])
def test_a_report_of_nothing(
    browser: Any, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory, width: int
) -> None:
    file = tmp_path_factory.mktemp("empty") / "report.html"
    write_page(file, recall_page(empty(gallery)).html)
    show(browser, file.as_uri(), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "nothing can be measured" in browser.execute_script("return document.body.innerText")
