"""Calibrating: the fit, edited pictures, negatives, and whole galleries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.config import IndexSpec
from cbir.evaluate.calibrate import (
    LEAST,
    NEGATIVES,
    SOURCES,
    WHITEN_AT,
    CalibrationOptions,
    calibrate,
    edit_pictures,
    fit_rising,
    negative_rows,
)
from cbir.evaluate.families import first_standing, neighbours, take_out
from cbir.evaluate.gallery import of_files
from cbir.images.edits import EDITS
from cbir.query.match import NEAREST, Calibration, Space
from tests.conftest import GridEmbedder
from tests.evaluate.galleries import drawn, made, small

AS_IT_IS = Space(np.zeros(3, np.float32))

# -- fit_rising ----------------------------------------------------------------------------------

points = st.lists(
    st.tuples(st.floats(-2, 2, width=16), st.booleans(), st.sampled_from([0.25, 1.0, 3.0])),
    min_size=1,
    max_size=40,
)


def arrays(rows: list[tuple[float, bool, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, truth, weights = zip(*rows, strict=True)
    return np.array(values, np.float64), np.array(truth, bool), np.array(weights, np.float64)


@given(points, st.randoms())
def test_a_fit_rises_within_0_and_1_whatever_the_order(
    rows: list[tuple[float, bool, float]], random: object
) -> None:
    corners, matches = fit_rising(*arrays(rows))
    assert np.all(np.diff(corners) > 0) and np.all(np.diff(matches) >= 0)
    assert 0 <= matches[0] and matches[-1] <= 1
    assert corners.tolist() == sorted({value for value, _, _ in rows})
    random.shuffle(rows)  # type: ignore[attr-defined]
    again = fit_rising(*arrays(rows))
    assert np.allclose(again[1], matches, atol=1e-12)
    Calibration(AS_IT_IS, 0.0, corners, matches).check()


def test_a_fit_finds_the_share_that_is_true() -> None:
    """Two levels: a tenth below, nine tenths above."""
    values = np.repeat([0.0, 1.0], 1000)
    truth = np.tile(np.arange(1000) % 10 == 0, 2)
    truth[1000:] ^= True
    corners, matches = fit_rising(values, truth, np.ones(2000))
    assert corners.tolist() == [0, 1] and np.allclose(matches, [0.1, 0.9], atol=0.01)


@pytest.mark.parametrize(("truth", "least", "most"), [(True, 0.9, 1.0), (False, 0.0, 0.1)])
def test_of_one_kind_only_the_ends_are_not_certain(truth: bool, least: float, most: float) -> None:
    values = np.linspace(0, 1, 100)
    _, matches = fit_rising(values, np.full(100, truth), np.ones(100))
    assert least < matches.mean() < most and 0 < matches[-1] < 1 or not truth
    assert matches[-1] < 1 and matches[0] > 0


@pytest.mark.parametrize("truth", [True, False])
def test_one_query_says_little(truth: bool) -> None:
    corners, matches = fit_rising(np.array([0.3]), np.array([truth]), np.ones(1))
    assert corners.tolist() == [0.3] and 0.2 < matches[0] < 0.8


# -- edited pictures -----------------------------------------------------------------------------


def test_many_sources_before_many_edits_of_each(tmp_path: Path) -> None:
    gallery = small(tmp_path, 12)
    pool = np.arange(12)
    few = edit_pictures(gallery, pool, CalibrationOptions(queries=5), EDITS)
    assert len(set(few.sources.tolist())) == len(few.edits) == 5
    told: list[int] = []
    many = edit_pictures(gallery, pool, CalibrationOptions(queries=30), EDITS, told.append)
    assert sorted(np.bincount(many.sources)) == [3] * 12 and sum(told) == len(many.edits) == 36
    assert all(len({many.edits[i] for i in np.flatnonzero(many.sources == row)}) == 3
               for row in pool.tolist())  # fmt: skip
    assert many.features.shape == (36, 48)


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    gallery = small(tmp_path, 6)
    os.remove(gallery.files[2])
    Path(gallery.files[4]).write_bytes(b"no picture any more")
    found = edit_pictures(gallery, np.arange(6), CalibrationOptions(queries=6), EDITS)
    assert sorted(found.sources.tolist()) == [0, 1, 3, 5]
    for file in gallery.files:
        Path(file).unlink(missing_ok=True)
    none = edit_pictures(gallery, np.arange(6), CalibrationOptions(queries=6), EDITS)
    assert none.features.shape == (0, 48) and none.edits == () and none.sources.shape == (0,)


@pytest.mark.parametrize(("size", "budget"), [(1, 150), (600, 150), (1000, 250), (9999, 600)])
def test_the_budget(size: int, budget: int) -> None:
    assert CalibrationOptions().budget(size) == budget
    assert CalibrationOptions(queries=7).budget(size) == 7


@pytest.mark.parametrize("size", [40, WHITEN_AT - 1, WHITEN_AT, 5000])
def test_negatives(size: int) -> None:
    keys = [f"{i:06d}".encode() for i in range(size)]
    rows = negative_rows(made(np.ones((size, 2), np.float32), keys), 0)
    assert (
        len(rows)
        == len(set(rows.tolist()))
        == (size if size < WHITEN_AT else min(NEGATIVES, size // 5))
    )


# -- whole galleries -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, LEAST - 1, LEAST, LEAST + 1])
def test_galleries_about_the_least_size(size: int, tmp_path: Path) -> None:
    found = calibrate(small(tmp_path, size), CalibrationOptions(queries=60))
    assert (found is not None) == (size >= LEAST)
    if found is not None:
        found.check()
        assert found.images == size and found.space.components is None


@pytest.mark.parametrize("size", [WHITEN_AT - 1, WHITEN_AT, WHITEN_AT + 1])
def test_galleries_about_the_size_that_is_whitened(size: int, tmp_path: Path) -> None:
    found = calibrate(small(tmp_path, size), CalibrationOptions(queries=80))
    assert found is not None and (found.space.components is not None) == (size >= WHITEN_AT)
    found.check()
    assert found.about["right"] > 0.5  # type: ignore[operator]


def test_a_copy_matches_and_another_picture_does_not(tmp_path: Path) -> None:
    gallery = small(tmp_path, 150)
    found = calibrate(gallery)
    assert found is not None
    rows = np.arange(150)
    asked = neighbours(gallery, found.space, gallery.take(rows), NEAREST)
    first, standing = first_standing(asked, found.cap)
    assert first.tolist() == rows.tolist() and found.match(standing).min() > 0.9
    _, others = first_standing(take_out(asked, [{row} for row in rows.tolist()]), found.cap)
    assert np.median(found.match(others)) < 0.2


def test_a_gallery_of_copies_only(tmp_path: Path) -> None:
    """Sixty darkened forms of three pictures: a copy is not told from its sibling."""
    from PIL import Image

    from tests.conftest import picture

    (tmp_path / "g").mkdir()
    files = []
    for i in range(60):
        pixels = np.asarray(picture(i % 3)).astype(np.float32) * (1 - i / 400)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "g" / f"{i}.png")
        files.append(str(tmp_path / "g" / f"{i}.png"))
    found = calibrate(of_files("copies", files, GridEmbedder(), IndexSpec()))
    assert found is not None and len(of_files("", files, GridEmbedder(), IndexSpec())) == 60
    found.check()
    # A negative whose like are all taken out has no background; it does not stand out for that.
    assert found.standings.max() < 1.5 and found.matches[-1] < 0.9


def test_too_few_files_that_are_there(tmp_path: Path) -> None:
    gallery = small(tmp_path, LEAST)
    for file in gallery.files[SOURCES - 1 :]:
        os.remove(file)
    assert calibrate(gallery) is None
    drawn(tmp_path, range(SOURCES))
    gallery = small(tmp_path, LEAST)
    for file in gallery.files[SOURCES:]:
        os.remove(file)
    assert calibrate(gallery) is not None


def shuffled(files: list[str]) -> list[str]:
    return [files[i] for i in np.random.default_rng(3).permutation(len(files))]


@pytest.mark.parametrize("order", [list, lambda files: files[::-1], shuffled])
def test_the_order_of_the_files_makes_no_difference(
    order: Callable[[list[str]], list[str]], tmp_path: Path
) -> None:
    files = drawn(tmp_path / "g", range(90))
    spec = IndexSpec()
    one = calibrate(of_files("g", files, GridEmbedder(), spec))
    other = calibrate(of_files("g", order(files), GridEmbedder(), spec))
    assert one is not None and other is not None and one.to_bytes() == other.to_bytes()
