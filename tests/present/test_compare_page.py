"""The page of a comparison: markup, plots, odd names, and how it looks in a browser."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as tree
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.present import write_page
from cbir.present.compare_page import ComparedSystem, ComparePage, compare_page
from tests.present.browser import CONTRAST, show

ODD = '<script>alert(1)</script> & "x" \x1b[31m {{ 7 * 7 }}'


def system(name: str, quality: float, speed: float, **more: Any) -> ComparedSystem:
    half = 0.03
    cells = ((f"{quality:.3f}", "a to b"), ("+.010", ".001 to .019"), (f"{speed:.0f}", ""))
    made = ComparedSystem(name, name.split(",")[0], quality, quality - half, quality + half, speed,
                          1032, cells)  # fmt: skip
    return replace(made, **more)


def many(embedders: int = 4, each: int = 8) -> list[ComparedSystem]:
    rng = np.random.default_rng(0)
    made = [
        system(f"network-{i}, {how}, pca {2**j}", 0.3 + 0.1 * i + 0.01 * float(rng.normal()),
               120 / (i + 1), bytes_per_image=4 * 2**j, front=j == 1, line=j == 1)
        for i in range(embedders)
        for j in range(each)
        for how in ("crop",)
    ]  # fmt: skip
    made[3] = replace(made[3], baseline=True)
    return sorted(made, key=lambda one: -one.quality)


def page_of(systems: Sequence[ComparedSystem], **more: Any) -> ComparePage:
    return replace(
        ComparePage("Systems compared: clothing", "mAP", ("341 queries",),
                    ("mAP", "to the baseline", "images/s"), tuple(systems), ("Means.",)),
        **more,
    )  # fmt: skip


def drawn(html: str) -> list[tree.Element]:
    """Every plot; HTML knows the prefix xlink, XML has to be told."""
    found = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    space = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" '
    return [tree.fromstring(text.replace("<svg ", space, 1)) for text in found]


def texts(picture: tree.Element) -> list[str]:
    return [one.text or "" for one in picture.iter("text")]


class Tags(HTMLParser):
    """Counts tags, and sees that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


def test_every_system_is_in_the_table_and_in_both_plots() -> None:
    html = compare_page(page_of(many()))
    parser = Tags()
    parser.feed(html)
    assert parser.open == [] and parser.seen.count("tr") == 33
    wide, narrow, intervals, small = drawn(html)
    for picture in (wide, narrow):
        numbers = [text for text in texts(picture) if text.isdecimal() and int(text) <= 32]
        assert len(set(numbers)) >= 29  # a few may find no room; none is there twice by mistake
    names = [one.name for one in many()]
    for picture in (intervals, small):
        shown = [text for text in texts(picture) if " · " in text]
        assert [text.split(" · ")[1] for text in shown] == names
    assert html.count(">baseline</span>") == 1 and html.count(">front</span>") == 4


def test_names_are_no_code() -> None:
    html = compare_page(
        page_of([system(ODD, 0.5, 10), system("b", 0.4, 20, drawn=False)],
                problems=((ODD, ODD),), skipped=1, title=ODD, facts=(ODD,), date=ODD)
    )  # fmt: skip
    assert "<script" not in html and "\x1b" not in html and "{{" in html and "&lt;script" in html
    assert "Not drawn: 2 b." in html and "1 picture could not be used" in html
    assert all(drawn(html))


def test_what_was_not_measured_is_not_drawn() -> None:
    nan = math.nan
    html = compare_page(page_of([system("a", 0.5, nan), system("b", nan, nan)]))
    assert len(drawn(html)) == 2  # intervals alone: nothing has a speed
    assert not any("b" == text.split(" · ")[-1] for text in texts(drawn(html)[0]))
    assert len(drawn(compare_page(page_of([system("a", 0.5, 10)])))) == 4
    nothing = compare_page(page_of([], problems=(("resnet50", "no weights"),)))
    assert "No system could be measured" in nothing and "no weights" in nothing
    assert drawn(nothing) == []
    without = system("a", 0.5, 10, low=nan, high=nan)
    assert len(drawn(compare_page(page_of([without])))) == 4


def test_the_same_page_twice() -> None:
    assert compare_page(page_of(many())) == compare_page(page_of(many()))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "compare.html"
    long = "an-embedder-that-somebody-saved-under-quite-a-long-name (efficientnet-lite0), pca 256"
    systems = [*many(), system(long, 0.2, 15), system("no-comma-" * 10, 0.1, 12)]
    problems = (("resnet50", "its weights cannot be fetched: " + "x" * 200),)
    write_page(file, compare_page(page_of(systems, problems=problems, skipped=3)))
    return Path(file).as_uri()


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 360, 800, 1280, 1920])
def test_nothing_sticks_out(browser: Any, address: str, width: int) -> None:
    show(browser, address, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    visible_plots = "return [...document.querySelectorAll('svg')].filter(s => s.clientWidth > 0)"
    sizes = browser.execute_script(
        visible_plots + ".map(s => [s.clientWidth, +getComputedStyle(s.querySelector('text'))"
        ".fontSize.slice(0, -2) * s.clientWidth / s.viewBox.baseVal.width])"
    )
    assert len(sizes) == 2 and all(letter > 8.5 for _, letter in sizes), sizes
    outside = (
        visible_plots + ".flatMap(s => { const r = s.getBoundingClientRect(); return [...s."
        "querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect(); return "
        "b.left < r.left - 1 || b.right > r.right + 1 || b.top < r.top - 1 || b.bottom > r.bottom "
        "+ 1 }).map(t => t.textContent) })"
    )
    cut = browser.execute_script(outside)
    assert cut == []


@pytest.mark.browser
def test_no_two_texts_of_a_plot_overlap(browser: Any, address: str) -> None:
    script = """
    const found = [];
    for (const s of document.querySelectorAll('.panels figure:first-child svg')) {
      const boxes = [...s.querySelectorAll('text')].map(t => [t.textContent,
        t.getBoundingClientRect()]).filter(b => b[1].width > 0);
      boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
        if (p.left < q.right - .5 && q.left < p.right - .5 && p.top + p.height * .2 < q.bottom -
            q.height * .2 && q.top + q.height * .2 < p.bottom - p.height * .2) found.push([a, b]);
      }));
    }
    return found"""
    for width in (360, 1280, 1920):
        show(browser, address, width)
        assert browser.execute_script(script) == []


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "media"), [("light", ""), ("dark", ""), ("dark", "print")])
def test_contrast(browser: Any, address: str, scheme: str, media: str) -> None:
    for width in (360, 1600):
        show(browser, address, width, scheme, media)
        found = browser.execute_script(CONTRAST)
        assert len(found) > 100 and [item for item in found if item[1] < 4.5] == []
