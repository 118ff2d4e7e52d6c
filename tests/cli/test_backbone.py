"""`cbir backbone show` as a user runs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Done

Command = Callable[..., Done]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = tmp_path / "picture.png"
    Image.fromarray(pixels).save(file)
    return file


def test_a_page_of_the_default_network(command: Command, picture: Path, tmp_path: Path) -> None:
    file = tmp_path / "maps.html"
    done = command("backbone", "show", "efficientnet-lite0", picture, "--input-size", 32, "-o",
                   file, "--channels", 8)  # fmt: skip
    assert (done.code, done.out) == (0, f"49 layers of efficientnet-lite0 in {file}\n")
    html = file.read_text()
    assert len(re.findall('id="layer-', html)) == 49 * 2  # the section, and its heading
    assert "8 of 32 channels shown" in html and "Filters of stem_conv" in html


def test_a_sheet_with_random_weights(command: Command, picture: Path, tmp_path: Path) -> None:
    file = tmp_path / "maps.png"
    done = command("backbone", "show", "LeNet-5", picture, "--random", 1, "--layer", "c1",
                   "--layer", "s2", "--no-filters", "--colors", "grey", "-o", file)  # fmt: skip
    assert (done.code, done.out) == (0, f"2 layers of lenet5 in {file}\n")
    with Image.open(file) as image:
        assert image.format == "PNG" and image.height > 2 * 56


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lenet5", "{picture}"], 5, "cbir train --backbone lenet5"),
        (["lenet6", "{picture}"], 2, "received 'lenet6'"),
        (["lenet5", "none.jpg"], 2, "does not exist"),
        (["lenet5", "{picture}", "-o", "maps.gif"], 2, "expected a file .html or .png"),
        (["lenet5", "{picture}", "--random", "0", "--layer", "f6"], 2, "expected one with maps"),
        (["lenet5", "{picture}", "--random", "0", "--layer", "x"], 2, "such as"),
        (["lenet5", "{picture}", "--random", "0", "--weights", "w"], 2, "no --weights beside"),
        (["lenet5", "{picture}", "--channels", "0"], 2, "channels"),
        (["lenet5", "{broken}", "--random", "0"], 5, "broken.jpg"),
    ],
)
def test_what_does_not_fit(
    arguments: list[str], code: int, message: str, command: Command, picture: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    done = command("backbone", "show", *(a.format(picture=picture, broken=broken)
                                         for a in arguments))  # fmt: skip
    assert done.code == code and message in done.err, done.err
    assert not list(tmp_path.glob("*.html"))
