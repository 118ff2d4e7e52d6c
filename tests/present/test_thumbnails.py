from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.errors import UsageError
from cbir.present.thumbnails import data_uri, preview, thumbnail
from tests.present.conftest import Gallery


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def checkered(height: int, width: int) -> np.ndarray:
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 220
    pixels[:, width // 2 :, 2] = 220
    return pixels


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 200), (100, 50)),
        ((200, 400), (50, 100)),
        ((100, 100), (100, 100)),
        ((30, 20), (30, 20)),  # never enlarged
        ((2000, 1), (100, 1)),
    ],
)
def test_size(size: tuple[int, int], expected: tuple[int, int], tmp_path: Path) -> None:
    pixels = checkered(size[1], size[0])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (pixels, tmp_path / "a.png", str(tmp_path / "a.png")):
        image = opened(thumbnail(source, 100))
        assert image.format == "JPEG"
        assert image.size == expected


def test_colors_survive(tmp_path: Path) -> None:
    Image.fromarray(checkered(300, 600)).save(tmp_path / "a.png")
    image = np.asarray(opened(thumbnail(tmp_path / "a.png", 100)))
    assert abs(image[10, 10].astype(int) - (220, 0, 0)).max() < 12
    assert abs(image[10, -10].astype(int) - (0, 0, 220)).max() < 12


def test_the_picture_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to be upright
    Image.fromarray(checkered(100, 200)).save(tmp_path / "a.jpg", exif=exif)
    shown = preview(tmp_path / "a.jpg", 100)
    assert (shown.image.width, shown.image.height) == (50, 100)
    assert (shown.width, shown.height, shown.format) == (100, 200, "JPEG")
    red = np.asarray(shown.image)[5, 25]
    assert red[0] > 180 > red[2]


def test_pixels_are_not_changed() -> None:
    pixels = checkered(200, 200)
    before = pixels.copy()
    thumbnail(pixels[::-1], 50)
    assert np.array_equal(pixels, before)


def test_missing_and_broken_files_are_drawn(gallery: Gallery) -> None:
    missing, broken = preview(gallery.gone, 160), preview(gallery.broken, 160)
    assert (missing.problem, broken.problem) == ("missing", "cannot be read")
    assert broken.detail
    for shown in (missing, broken):
        assert shown.image.size == (160, 120)
        assert len(shown.image.getcolors(100_000) or []) > 2  # a text is drawn
    assert missing.image.tobytes() != broken.image.tobytes()
    assert opened(thumbnail(gallery.gone, 160)).size == (160, 120)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"GIF8"]
)
def test_damaged_files_never_raise(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert preview(tmp_path / "a.jpg", 64).problem == "cannot be read"


@pytest.mark.parametrize("path", ["", "a\0b.jpg", "x" * 5000, "half\ud800.jpg"])
def test_impossible_names_are_missing(path: str) -> None:
    assert preview(path, 64).problem == "missing"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are files on POSIX only")
def test_folders_and_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert preview(tmp_path, 64).problem == "cannot be read"
    assert preview(tmp_path / "pipe", 64).problem == "cannot be read"


def test_data_uri(gallery: Gallery) -> None:
    head, content = data_uri(gallery.pictures[0], 64).split(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(content) == thumbnail(gallery.pictures[0], 64)


@pytest.mark.parametrize("side", [0, 15, 4097, -1])
def test_side_out_of_range(side: int) -> None:
    with pytest.raises(UsageError, match="side: expected 16 to 4096"):
        thumbnail("a.jpg", side)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_a_usage_error(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="pixels: expected uint8"):
        thumbnail(pixels, 64)
