"""The page of activation maps in a real browser: nothing sticks out, all is legible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbir.present.activations import LayerView, NetView, activations_page
from cbir.present.html import write_page
from tests.present.browser import CONTRAST, show

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    layers = tuple(
        LayerView(f"block{i}_{'very_' * 20}long_name", ("BatchNormalization", "ReLU"),
                  rng.normal(size=(side, side, 80)).astype(np.float32))
        for i, side in enumerate((112, 28, 7, 1))
    )  # fmt: skip
    view = NetView("some-network", "a" * 150 + ".jpg",
                   rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), layers,
                   ("conv1", rng.normal(size=(32, 7, 7, 3)).astype(np.float32)))  # fmt: skip
    file = tmp_path_factory.mktemp("page") / "maps.html"
    write_page(file, activations_page(view))
    return file.as_uri()


@pytest.mark.parametrize("width", [320, 800, 1920])
def test_nothing_sticks_out(browser: Any, address: str, width: int) -> None:
    show(browser, address, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut = (
        "return [...document.querySelectorAll('.card, .card *, .facts, h1')].filter(e =>"
        "getComputedStyle(e).display != 'inline' && e.scrollWidth > e.clientWidth + 1).length"
    )
    assert browser.execute_script(cut) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, address: str, scheme: str) -> None:
    show(browser, address, 1280, scheme)
    found = browser.execute_script(CONTRAST)
    assert len(found) > 20
    assert [item for item in found if item[1] < 4.5] == []


def test_every_picture_is_there_and_nothing_complains(browser: Any, address: str) -> None:
    browser.get_log("browser")
    show(browser, address, 1280)
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 6 and min(sizes) > 0
    assert browser.get_log("browser") == []
    links = browser.execute_script(
        "return [...document.querySelectorAll('.parts a')].map(a => "
        "!!document.querySelector(a.getAttribute('href')))"
    )
    assert links == [True] * 4
