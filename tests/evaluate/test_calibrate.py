"""Calibrating: who shows the same, how scores fall off, the fit, and whole galleries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.config import IndexSpec
from cbir.evaluate import calibrate as module
from cbir.evaluate.calibrate import (
    LEAST,
    NEGATIVES,
    SOURCES,
    WHITEN_AT,
    Around,
    CalibrationOptions,
    Likeness,
    calibrate,
    edit_pictures,
    families,
    first_standing,
    fit_rising,
    negative_rows,
    neighbours,
    take_out,
)
from cbir.evaluate.gallery import Gallery, of_files
from cbir.images.edits import EDITS
from cbir.query.match import NEAREST, Calibration, Space, centre
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


# -- what is near --------------------------------------------------------------------------------


def test_neighbours_have_cosines_in_the_space() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4)).astype(np.float32) + 1
    gallery, space = made(features), centre(features)
    around = neighbours(gallery, space, features[:5], 7)
    assert around.rows.shape == (5, 7)
    for query in range(5):
        for row, cosine in zip(around.rows[query], around.cosines[query], strict=True):
            a, b = (features[i].astype(np.float64) - features.mean(axis=0) for i in (query, row))
            assert cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)


def test_rows_are_taken_out_and_the_rest_moves_up() -> None:
    around = Around(np.array([[4, 2, 7, -1], [1, 4, 4, 0]]),
                    np.array([[0.9, 0.8, 0.7, -np.inf], [0.6, 0.5, 0.4, 0.3]]))  # fmt: skip
    left = take_out(around, [{2}, {4, 1}])
    rows, cosines = left.nearest()
    assert rows.tolist() == [[4, 7, -1, -1], [0, -1, -1, -1]]
    assert cosines.tolist() == [[0.9, 0.7, -np.inf, -np.inf], [0.3, *[-np.inf] * 3]]
    assert around.rows[0].tolist() == [4, 2, 7, -1]
    wide = Around(np.arange(90)[None], -np.arange(90.0)[None])
    assert wide.nearest()[0].tolist() == [list(range(NEAREST))]


def test_the_first_that_is_left_stands_out_of_the_tenth() -> None:
    rows = np.arange(12)[None].repeat(3, axis=0)
    cosines = np.linspace(1.0, 0.45, 12)[None].repeat(3, axis=0)
    around = take_out(Around(rows, cosines), [{0}, {0, 1, 2}, set(range(12))])
    first, standing = first_standing(around, cap=0.6)
    assert first.tolist() == [1, 3, -1]
    # tenth of those left: .5; nine left: the cap; none left: the opposite of the query
    assert np.allclose(standing, [0.95 - 0.5, 0.85 - 0.6, -1 - 0.6])


def test_how_cosines_fall_off_by_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    cosines = rng.uniform(-1, 1, size=(4, 300))
    own = np.zeros((4, 300), bool)
    own[np.arange(4), np.argmax(cosines, axis=1)] = True
    level, step = module._fall_off(cosines, own)
    for row in range(4):
        left = sorted((v for v, o in zip(cosines[row], own[row], strict=True) if not o),
                      reverse=True)  # fmt: skip
        gaps = [rank * (left[rank - 1] - left[rank]) for rank in range(10, 60)]
        assert level[row] == pytest.approx(left[9])
        assert step[row] == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("size", [0, 1, 40, 99])
def test_a_small_gallery_does_not_tell_how_cosines_fall_off(size: int) -> None:
    level, step = module._fall_off(np.zeros((2, size)), np.zeros((2, size), bool))
    assert level.tolist() == [0, 0] and step.tolist() == [np.inf, np.inf]


# -- families ------------------------------------------------------------------------------------


def chain(dims: int = 64) -> np.ndarray:
    """Sixty unlike pictures; 0-1-2-3-4 is a chain, each like the next only; 10, 11, 12 are alike.

    Two neighbours of the chain have the cosine 1/2, two others of it none.
    """
    rows = np.eye(60, dims, dtype=np.float32)
    for i in range(1, 5):
        rows[i, :] = 0
        rows[i, [i - 1, i]] = 1
    rows[0, :] = 0
    rows[0, 0] = rows[0, 63] = 1
    rows[11], rows[12] = rows[10], rows[10]
    return rows


def test_families_are_closed_over_two_hops() -> None:
    gallery = made(chain())
    like = Likeness(Space(np.zeros(64, np.float32)), cap=0.5, alike=0.4)
    found = families(gallery, np.array([0, 2, 4, 10, 12, 30]), like)
    assert found == [{0, 1, 2, 3}, {0, 1, 2, 3, 4}, {1, 2, 3, 4}, {10, 11, 12}, {10, 11, 12}, {30}]


def test_families_of_one_family() -> None:
    """All alike: everybody shows the same, whether or not there is a background."""
    gallery = made(np.ones((50, 4), np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.2, alike=0.5)
    assert families(gallery, np.array([3, 7]), like) == [set(range(50))] * 2
    assert families(gallery, np.empty(0, np.int64), like) == []


def test_the_work_on_families_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = module._linked

    def counted(gallery: Gallery, rows: np.ndarray, like: Likeness) -> list[set[int]]:
        asked.append(len(rows))
        return real(gallery, rows, like)

    monkeypatch.setattr(module, "_ASKED", 5)
    monkeypatch.setattr(module, "_linked", counted)
    gallery = made(np.ones((50, 4), np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.2, alike=0.5)
    assert families(gallery, np.array([3, 7]), like) == [set(range(50))] * 2
    assert asked == [2, 7, 7]


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gallery = made(rng.normal(size=(200, 4)).astype(np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.9, alike=0.05)
    rows = np.arange(60)
    whole = module._linked(gallery, rows, like)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert module._linked(gallery, rows, like) == whole and any(whole)


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
