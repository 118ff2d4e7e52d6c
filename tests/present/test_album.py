"""Pictures of a page: counted, decoded once a size, the asked-for part outlined."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.present.album import Album, Picture, Shot
from tests.present.conftest import Gallery


def pixels(picture: Picture) -> np.ndarray:
    data = base64.b64decode(picture.uri.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.int64)


def test_pictures_are_counted_and_missing_ones_once(gallery: Gallery) -> None:
    album = Album()
    for path in (
        gallery.pictures[0],
        gallery.pictures[0],
        gallery.gone,
        gallery.gone,
        gallery.broken,
    ):
        album.picture(Shot(path), 64)
    assert album.embedded == 5 and album.missing == {gallery.gone, gallery.broken}


def test_a_picture_with_its_words(gallery: Gallery) -> None:
    shot = Shot(gallery.odd[4], "a\nb", 3, 0.51234, True)
    made = Album().picture(shot, 64)
    assert (made.width, made.height, made.problem) == (64, 43, None)
    assert made.label == "a\\nb" and made.score == "0.512" and made.shot is shot
    assert made.name == f"{gallery.folder.name}/line\\nbreak\\x1b[31m\\u202egpj.jpg"
    assert made.url is not None and made.url.startswith("file://")
    other = Album().picture(Shot(gallery.gone), 64)
    assert (other.score, other.label, other.problem) == ("", "", "missing")


def test_one_file_as_query_and_as_hit(gallery: Gallery) -> None:
    album = Album()
    first = album.picture(Shot(gallery.pictures[0], "a"), 64)
    again = album.picture(Shot(gallery.pictures[0], "b", 2), 64)
    assert first.uri is again.uri and again.label == "b" and again.shot.rank == 2


@pytest.fixture
def grey(tmp_path: Path) -> str:
    """400 x 200, mid grey."""
    file = tmp_path / "grey.png"
    Image.new("RGB", (400, 200), (128, 128, 128)).save(file)
    return str(file)


@pytest.mark.parametrize("crop", ["100,40,200,120", "0.25,0.2,0.5,0.6"])
def test_the_part_that_was_asked_for_is_outlined(grey: str, crop: str) -> None:
    """At half the size: from (50, 20) to (149, 79)."""
    album = Album()
    plain, boxed = (pixels(album.picture(Shot(grey, crop=c), 200)) for c in (None, crop))
    assert boxed.shape == (100, 200)
    changed = np.abs(boxed - plain) > 40
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (rows[0], rows[-1]) == (20, 79) and (columns[0], columns[-1]) == (50, 149)
    assert not changed[30:70, 60:140].any()
    assert boxed[changed].min() < 40 and boxed[changed].max() > 215  # seen on any ground


@pytest.mark.parametrize("crop", ["0,0,400,200", "399,199,1,1", "0,0,3,3"])
def test_parts_at_the_edges(grey: str, crop: str) -> None:
    plain, boxed = (pixels(Album().picture(Shot(grey, crop=c), 200)) for c in (None, crop))
    assert (plain != boxed).any()


@pytest.mark.parametrize("crop", ["300,0,200,100", "x", "1,2,3"])
def test_a_part_that_is_not_in_the_picture_is_not_drawn(grey: str, crop: str) -> None:
    plain, boxed = (pixels(Album().picture(Shot(grey, crop=c), 200)) for c in (None, crop))
    assert (plain == boxed).all()
