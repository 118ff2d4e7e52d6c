"""The report's page as markup: what it says, that names are no code, that it stays small."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.present.album import Shot
from cbir.present.numbers import number
from cbir.present.recall_page import Case, Pair, Value, bar_length, interval_text, signed_text
from cbir.present.recall_page import recall_page as made_page
from tests.present.conftest import Gallery
from tests.present.reports import empty, report
from tests.present.test_html import Reader


def text_of(html: str) -> str:
    return " ".join(" ".join(Reader(html).text).split())


def test_every_part_is_there(gallery: Gallery) -> None:
    made = made_page(report(gallery))
    text = text_of(made.html)
    for words in (
        "Retrieval benchmark: clothing split=<validation>", "12,345 queries",
        "17 more with nothing to find", "98,765 images in the gallery", "A note about <something>.",
        ".771", ".727 to .815", "−.020", "−.050 to +.013", "All 10 classes",
        "the 2 most frequent of 30", "7 of 12 queries (58%)", "1 of 900 queries (1%)",
        "first right at rank 1,234", "no relevant image came", "asked for the outlined part",
        "no hits", "3 of the first 9 right", "0 of the first 2 right",
        "n = 998", "2026-03-01 10:00", ".912 (floor .600)", "At most two of a class.",
    ):  # fmt: skip
        assert words in text, words
    assert "of the first 0" not in text
    read = Reader(made.html)
    assert len(read.all("svg", "plot")) == 3
    assert len(read.all("li", "case")) == 4


def test_pictures_are_counted_and_lost_files_said(gallery: Gallery) -> None:
    made = made_page(report(gallery))
    images = [a for a in Reader(made.html).all("img") if a["src"].startswith("data:image/jpeg")]
    assert made.pictures == len(images) == 4 + (1 + 9 + 1) + (1 + 2) + 1 + (1 + 9 + 1)
    assert made.missing == 2
    assert f"{made.pictures} pictures embedded; 2 files could not be read now" in text_of(made.html)
    assert sum("(missing)" in a["alt"] for a in images) >= 3


def test_right_and_wrong_are_told_by_more_than_colour(gallery: Gallery) -> None:
    made = made_page(replace(report(gallery), worst=report(gallery).worst[:1], best=(), pairs=()))
    read = Reader(made.html)
    assert len(read.all("a", "right")) == 3 + 1 and len(read.all("a", "wrong")) == 6
    assert made.html.count("✓</span>") == 4 and made.html.count("✗</span>") == 6
    assert text_of(made.html).count(" right ✓") == 4 and text_of(made.html).count(" wrong ✗") == 6
    assert "solid" in re.findall(r"\.box\.right[^}]+", made.html)[0]
    assert "dashed" in re.findall(r"\.box\.wrong[^}]+", made.html)[0]


def test_names_are_no_code(gallery: Gallery) -> None:
    html = made_page(report(gallery)).html
    for code in ("<script>alert", "<img src=x", "<i>imagenet", "<something>", "49 &amp;", "\u202e"):
        assert code not in html, code
    assert "{{ 7 * 7 }}" in html
    for tag, attributes in Reader(html).elements:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:").startswith(("data:", "#", "file:///")), attributes
    assert "default-src 'none'" in html


def test_long_names_are_whole_in_the_title(gallery: Gallery) -> None:
    titles = [a.get("title") for a in Reader(made_page(report(gallery)).html).all("bdi", "cut")]
    assert "x" * 300 in titles and "日本語の名前がとても長い" * 6 in titles


def test_many_classes_are_said_to_be_a_part(gallery: Gallery) -> None:
    text = text_of(made_page(replace(report(gallery, 40), classes_of=2500)).html)
    assert "The 40 lowest of 2,500 classes" in text


def test_nothing_to_find(gallery: Gallery) -> None:
    made = made_page(empty(gallery))
    text = text_of(made.html)
    assert "No query has a relevant image in the gallery" in text and "nan" not in text.lower()
    assert made.pictures == 0 and "0 pictures embedded." in text
    assert "<svg" not in made.html and "#classes" not in made.html


def test_without_labels_scores_or_notes(gallery: Gallery) -> None:
    full = report(gallery)
    assert full.curves is not None
    bare = replace(full, classes=(), pairs=(), notes=(), curves=replace(full.curves, scores=None))
    read = Reader(made_page(bare).html)
    assert len(read.all("svg", "plot")) == 2 and not read.all("p", "notice")
    assert "At most two of a class" not in " ".join(read.text)


def test_the_largest_page_stays_below_five_megabytes(tmp_path: Path, gallery: Gallery) -> None:
    """The most that a benchmark shows, all of it noise, which JPEG cannot make smaller."""
    random = np.random.default_rng(0)
    files = []
    for i in range(3):
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(random.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(files[-1])
    shots = tuple(Shot(files[i % 3], "c", i + 1, 0.5, False) for i in range(9))
    case = Case(Shot(files[0]), shots, shots[0], 0.1, 100, 5)
    full = report(gallery, 100)
    most = replace(full, worst=(case,) * 8, best=(case,) * 4, pairs=(Pair(*shots[:2], 1, 2),) * 12)
    made = made_page(most)
    assert made.pictures == 12 * 11 + 24
    assert 1_000_000 < len(made.html.encode()) < 5_000_000


@pytest.mark.parametrize(
    ("value", "plain", "sign", "share"),
    [(0.7714, ".771", "+.771", "77.1%"), (1.0, "1.000", "+1.000", "100.0%"),
     (0, ".000", ".000", "0.0%"), (-0.0001, ".000", ".000", "0.0%"),
     (-0.25, "-.250", "−.250", "0.0%"), (math.nan, "-", "-", "0%"),
     (1.5, "1.500", "+1.500", "100.0%")],
)  # fmt: skip
def test_numbers(value: float, plain: str, sign: str, share: str) -> None:
    assert (number(value), signed_text(value), bar_length(value)) == (plain, sign, share)


def test_intervals() -> None:
    assert interval_text(Value(0.5, 0.4, 0.6)) == ".400\u00a0to .600"
    assert interval_text(Value(0, -0.1, 0.25), True) == "−.100\u00a0to +.250"
    assert interval_text(Value(0.5)) == ""
