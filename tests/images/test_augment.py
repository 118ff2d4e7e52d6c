"""Random changes of training pictures: sizes, seeds, limits."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.images.augment import NONE, Augmentation, augment
from cbir.images.resize import resize
from cbir.types import Pixels

ALL = Augmentation(turn=20, colour=0.4, grey=0.5, blur=0.5, erasing=0.5)


@pytest.fixture
def picture() -> Pixels:
    """Noise, 40 x 30."""
    return np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def made(picture: Pixels, how: Augmentation, seed: int, size: int = 24) -> Pixels:
    return augment(picture, size, how, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(picture: Pixels) -> None:
    before = picture.copy()
    assert np.array_equal(made(picture, ALL, 1), made(picture, ALL, 1))
    assert not np.array_equal(made(picture, ALL, 1), made(picture, ALL, 2))
    assert np.array_equal(picture, before)


def test_without_changes_it_is_the_resized_picture(picture: Pixels) -> None:
    assert not NONE.changes and Augmentation().changes
    assert np.array_equal(made(picture, NONE, 5), resize(picture, 24, "squash"))


def test_flip_alone_is_the_mirrored_picture_as_often_as_asked(picture: Pixels) -> None:
    plain = resize(picture, 24, "squash")
    always = made(picture, Augmentation(crop=1, flip=1), 0)
    assert np.array_equal(always, plain[:, ::-1])
    half = [made(picture, Augmentation(crop=1, flip=0.5), s) for s in range(200)]
    flipped = sum(np.array_equal(one, always) for one in half)
    assert 70 < flipped < 130
    assert all(np.array_equal(one, always) or np.array_equal(one, plain) for one in half)


def test_crops_keep_the_share_that_is_asked() -> None:
    """A picture whose values are its columns: a crop's range of values is its width."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, 0).repeat(3, 2)
    widths = []
    for seed in range(200):
        out = made(ramp, Augmentation(crop=0.25, ratio=1, flip=0), seed, 100)
        widths.append((int(out.max()) - int(out.min())) / 199)
    assert 0.46 < min(widths) < 0.56  # the root of a quarter
    assert max(widths) > 0.94


def test_colour_grey_and_erasing_do_what_they_say(picture: Pixels) -> None:
    grey = made(picture, Augmentation(crop=1, flip=0, grey=1), 0)
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 1], grey[..., 2])
    plain = resize(picture, 64, "squash")
    for seed in range(20):
        out = made(picture, Augmentation(crop=1, flip=0, erasing=1), seed, 64)
        changed = (out != plain).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / 64**2
        assert 0.01 < area < 0.25
        inside = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside.mean() > 0.95  # one block, and nothing outside it


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (2, 3)])
def test_tiny_pictures_pass(shape: tuple[int, int]) -> None:
    out = made(np.full((*shape, 3), 7, np.uint8), ALL, 4)
    assert out.shape == (24, 24, 3) and out.dtype == np.uint8


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.5}, {"crop": 0}, {"ratio": 0.5}, {"turn": 181}, {"erasing": -0.1}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected .* received"):
        Augmentation(**wrong)
