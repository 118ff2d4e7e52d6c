"""The page in a real browser, as people see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cbir.present.html import PageOptions, page, write_page
from tests.present.browser import CONTRAST, show
from tests.present.conftest import Gallery, make_ranking

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> str:
    few = {"label": "cat", "photographer": "somebody with quite a long name"}
    many = {f"key {i}": "a value that is long, " * 3 for i in range(8)}
    rankings = [
        make_ranking(gallery.pictures[0], gallery.everything, gallery.pictures[:1], metadata=few),
        make_ranking(gallery.odd[0], gallery.odd, gallery.odd[:1], metadata=many),
        make_ranking("a + b + c", gallery.pictures, gallery.pictures[:3]),
        make_ranking("-", ()),
        make_ranking(gallery.odd[-1], gallery.pictures[:1], gallery.odd[-1:], match=False),
    ]
    file = tmp_path_factory.mktemp("page") / "page #1 %20.html"
    write_page(file, page(rankings, PageOptions(date="2026-03-01")))
    return file.as_uri()


def test_nothing_is_fetched_and_nothing_complains(browser: Any, address: str) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    show(browser, address, 1600)
    asked = [
        event["params"]["request"]["url"]
        for event in (json.loads(e["message"])["message"] for e in browser.get_log("performance"))
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert address in asked
    assert [url[:60] for url in asked if not url.startswith(("data:", "file:"))] == []
    assert [url for url in asked if url.startswith("file:")] == [address]
    assert browser.get_log("browser") == []


def test_every_picture_is_there(browser: Any, address: str) -> None:
    show(browser, address, 1600)
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 20 + 1 + 6 + 1 + 12 + 3 + 1 + 1 + 4
    assert min(sizes) > 0


def test_file_names_are_no_code(browser: Any, address: str) -> None:
    show(browser, address, 1600)
    assert browser.execute_script("return document.scripts.length") == 0
    handlers = "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    names = browser.execute_script(handlers)
    assert [name for name in names if name.startswith("on")] == []


def test_links_lead_to_the_files(browser: Any, address: str, gallery: Gallery) -> None:
    show(browser, address, 1600)
    script = "return [...document.querySelectorAll('#query-2 a.picture')].map(a => a.href)"
    links = browser.execute_script(script)
    assert links == [Path(path).as_uri() for path in (gallery.odd[0], *gallery.odd)]
    browser.get(links[1])
    assert browser.execute_script("return document.images[0].naturalWidth") == 120


@pytest.mark.parametrize("width", [320, 360, 800, 1600, 2560])
def test_nothing_sticks_out(browser: Any, address: str, width: int) -> None:
    show(browser, address, width)
    assert browser.execute_script("return innerWidth") == width
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut = (
        "return [...document.querySelectorAll('.about-hit, .about-hit *:not(.unseen), .about, h1')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != 'inline')"
        ".map(e => e.className + ': ' + e.textContent.slice(0, 40))"
    )
    assert browser.execute_script(cut) == []


@pytest.mark.parametrize(
    ("scheme", "media"), [("light", ""), ("dark", ""), ("light", "print"), ("dark", "print")]
)
def test_contrast(browser: Any, address: str, scheme: str, media: str) -> None:
    show(browser, address, 1600, scheme, media)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 100
    assert [item for item in found if item[1] < 4.5] == []


def test_dark_is_dark_and_light_is_light(browser: Any, address: str) -> None:
    script = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    show(browser, address, 1600, "dark")
    assert max(browser.execute_script(script)) < 60
    show(browser, address, 1600, "light")
    assert min(browser.execute_script(script)) > 200


def test_the_keyboard_reaches_everything(browser: Any, address: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    show(browser, address, 1600)
    reached = []
    for _ in range(9):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        active = browser.switch_to.active_element
        reached.append(active.get_attribute("href").split("#")[-1].split("/")[-1])
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert browser.execute_script(outline) != "none"
    targets = [f"query-{i}" for i in range(1, 6)]
    assert reached == ["main", *targets, "picture-00.jpg", "picture-00.jpg", "picture-01.jpg"]


def test_a_section_is_not_hidden_below_the_sticky_bar(browser: Any, address: str) -> None:
    show(browser, f"{address}#query-3", 1600)
    below = browser.execute_script(
        "const y = s => document.querySelector(s).getBoundingClientRect();"
        "return y('#query-3 .asked').top - y('.queries').bottom"
    )
    assert 0 <= below < 120
