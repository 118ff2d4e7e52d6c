from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from cbir.errors import UsageError
from cbir.present.sheet import SheetOptions, contact_sheet, fitted, write_sheet
from cbir.types import Hit, Ranking
from tests.present.conftest import Gallery, make_ranking

ACCENT = (31, 95, 191)
GOOD = (26, 112, 64)


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == color).all(axis=2).any())


def test_sheet_shows_query_hits_and_mark(gallery: Gallery) -> None:
    ranking = make_ranking("q.jpg", gallery.pictures, gallery.pictures[:1])
    image = contact_sheet([ranking])
    assert image.mode == "RGB"
    assert has_color(image, ACCENT)
    assert has_color(image, GOOD)
    pixels = np.asarray(image)
    for edge in (pixels[:16], pixels[-16:], pixels[:, :16], pixels[:, -16:]):
        assert (edge == 255).all()  # the margin is clear


def test_every_hit_has_its_place(tmp_path: Path) -> None:
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (250, 0, 250)]
    paths = []
    for number, color in enumerate(colors):
        Image.new("RGB", (300, 300), color).save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
    image = np.asarray(
        contact_sheet([make_ranking("q", tuple(paths))], SheetOptions(cell=100, columns=2))
    )
    centers = []
    for color in colors:
        rows, columns = np.nonzero((image == color).all(axis=2))
        assert len(rows) > 90 * 75  # but for the frame and the mark
        centers.append((round(rows.mean() / 10), round(columns.mean() / 10)))
    assert centers[0][0] == pytest.approx(centers[1][0], abs=1)
    assert centers[0][1] == pytest.approx(centers[2][1], abs=1)
    assert centers[1][1] > centers[0][1] + 5
    assert centers[4][0] > centers[2][0] + 5 > centers[0][0] + 10


def test_width_follows_the_hits(gallery: Gallery) -> None:
    def width(hits: int) -> int:
        return contact_sheet([make_ranking("q", gallery.pictures[:hits])]).width

    assert width(0) == width(1) < width(2) < width(5) == width(6) == width(12)


@pytest.mark.parametrize("files", [0, 1, 2, 3, 4])
def test_queries_of_several_pictures(gallery: Gallery, files: int) -> None:
    image = contact_sheet([make_ranking("q", (), gallery.pictures[:files])])
    assert has_color(image, ACCENT)
    assert (np.asarray(image)[-8:] == 255).all()


def test_several_queries_are_stacked(gallery: Gallery) -> None:
    ranking = make_ranking("q", gallery.pictures, gallery.pictures[:1])
    one, three = contact_sheet([ranking]), contact_sheet([ranking] * 3)
    assert three.width == one.width
    assert three.height > 2.8 * one.height
    titled = contact_sheet([ranking], SheetOptions(title="My photos"))
    assert titled.height > one.height


def test_odd_missing_and_broken_files(gallery: Gallery) -> None:
    contact_sheet([make_ranking(gallery.odd[0], gallery.everything, gallery.odd[:1])])


def test_too_large_is_refused_before_anything_is_read() -> None:
    many = make_ranking("q", tuple(f"/gone-{i}.jpg" for i in range(400)))
    with pytest.raises(UsageError, match="sheet: expected at most 16,000 pixels a side"):
        contact_sheet([many])
    with pytest.raises(UsageError, match="fewer queries or hits"):
        contact_sheet([many] * 5, SheetOptions(columns=40))


def test_no_rankings() -> None:
    with pytest.raises(UsageError, match="at least one ranking"):
        contact_sheet([])


@pytest.mark.parametrize("options", [{"cell": 63}, {"cell": 1025}, {"columns": 0}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))}: expected"):
        SheetOptions(**options)


def test_fitted_keeps_start_and_end() -> None:
    font = ImageFont.load_default(14)
    shown = fitted("a-very-long-name-of-a-picture-0042.jpg", 120, 14)
    assert shown.startswith("a-very") and shown.endswith("42.jpg") and "…" in shown
    assert 100 < font.getlength(shown) <= 120
    assert fitted("short.jpg", 120, 14) == "short.jpg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zürich.jpg", "Zurich.jpg"),
        ("Zu\u0308rich.jpg", "Zurich.jpg"),
        ("日本.jpg", "??.jpg"),
        ("a\nb", "a\\nb"),
        ("a b\u00a0c", "a b c"),
    ],
)
def test_characters_that_the_font_lacks(text: str, expected: str) -> None:
    assert fitted(text, 1000, 14) == expected


@given(st.text(st.characters(exclude_categories=())), st.integers(20, 200))
def test_fitted_always_fits(text: str, room: int) -> None:
    shown = fitted(text, room, 14)
    assert ImageFont.load_default(14).getlength(shown) <= room
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.png", b"\x89PNG"),
        ("a.jpg", b"\xff\xd8"),
        ("a.JPEG", b"\xff\xd8"),
        ("a.webp", b"RIFF"),
        ("a.pdf", b"%PDF"),
    ],
)
def test_write_sheet(name: str, start: bytes, gallery: Gallery, tmp_path: Path) -> None:
    image = contact_sheet([make_ranking("q", gallery.pictures[:2])], SheetOptions(cell=64))
    write_sheet(tmp_path / name, image)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    if not name.endswith("pdf"):
        assert Image.open(io.BytesIO(content)).size == image.size


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt"])
def test_write_sheet_refuses_other_formats(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends with \.jpeg"):
        write_sheet(tmp_path / name, Image.new("RGB", (10, 10)))
    assert list(tmp_path.iterdir()) == []


def test_write_sheet_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="existing folder"):
        write_sheet(tmp_path / "none" / "a.png", Image.new("RGB", (10, 10)))


def test_scores_that_are_no_numbers_do_not_stop_it() -> None:
    hit = Hit(1, 1, "/gone.jpg", float("nan"), float("nan"))
    contact_sheet([Ranking("q", (hit,), "i", float("nan"))])
