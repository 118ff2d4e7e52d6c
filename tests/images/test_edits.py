"""Picture edits: each against a plain loop or a case made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.images import edits
from cbir.types import Pixels


def some(height: int = 24, width: int = 32, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(colour: tuple[int, int, int], height: int = 8, width: int = 12) -> Pixels:
    return np.tile(np.array(colour, np.uint8), (height, width, 1))


@pytest.mark.parametrize("name", edits.EDITS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (61, 37)])
def test_every_edit_gives_a_new_rgb_picture(name: str, shape: tuple[int, int]) -> None:
    pixels = some(*shape)
    before = pixels.copy()
    pixels.flags.writeable = False
    made = edits.EDITS[name](pixels)
    assert made.dtype == np.uint8 and made.ndim == 3 and made.shape[2] == 3 and made.size > 0
    assert made.flags.c_contiguous and made.flags.writeable
    assert not np.shares_memory(made, pixels)
    assert np.array_equal(pixels, before)
    assert np.array_equal(made, edits.EDITS[name](pixels))


@pytest.mark.parametrize("name", edits.EDITS)
def test_every_edit_changes_a_picture_and_takes_any_layout(name: str) -> None:
    pixels = some(60, 80)
    made = edits.EDITS[name](pixels)
    assert made.shape != pixels.shape or not np.array_equal(made, pixels)
    strided = np.asfortranarray(pixels)
    assert np.array_equal(edits.EDITS[name](strided), made)


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        edits.EDITS["own"] = edits.flip  # type: ignore[index]


def test_crop_takes_the_part_that_is_asked_for() -> None:
    pixels = some(10, 20)
    assert np.array_equal(edits.crop(pixels, 0.5), pixels[2:7, 5:15])
    assert np.array_equal(edits.crop(pixels, 0.5, x=0, y=1), pixels[5:10, 0:10])
    assert np.array_equal(edits.crop(pixels, 1.0), pixels)
    assert edits.crop(pixels, 0.0).shape == (1, 1, 3)


def test_scale_is_a_share_of_both_sides() -> None:
    assert edits.scale(some(20, 30), 0.5).shape == (10, 15, 3)
    assert edits.scale(some(20, 30), 2.0).shape == (40, 60, 3)
    assert edits.scale(some(20, 30), 0.001).shape == (1, 1, 3)
    assert np.array_equal(edits.scale(plain((9, 80, 200)), 0.4), plain((9, 80, 200), 3, 5))


def test_flip_and_quarter_turns_move_each_pixel() -> None:
    pixels = some(3, 5)
    flipped, turned = edits.flip(pixels), edits.quarter_turns(pixels, 1)
    assert turned.shape == (5, 3, 3)
    for y in range(3):
        for x in range(5):
            assert np.array_equal(flipped[y, x], pixels[y, 4 - x])
            assert np.array_equal(turned[4 - x, y], pixels[y, x])  # anticlockwise
    assert np.array_equal(edits.quarter_turns(pixels, 4), pixels)


def test_rotate_by_quarters_is_exact_and_fills_with_grey() -> None:
    square = some(9, 9)
    assert np.array_equal(edits.rotate(square, 90), edits.quarter_turns(square, 1))
    assert np.array_equal(edits.rotate(square, 0, inside=True), square)
    tilted = edits.rotate(plain((255, 255, 255), 40, 40), 45)
    assert tilted.shape == (40, 40, 3)
    assert np.array_equal(tilted[0, 0], [edits.GREY] * 3)
    assert np.array_equal(tilted[20, 20], [255] * 3)


@pytest.mark.parametrize("seed", range(60))
def test_rotate_inside_shows_no_corner_and_wastes_little(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(8, 150, 2))
    degrees = float(rng.uniform(-180, 180))
    made = edits.rotate(np.full((height, width, 3), 255, np.uint8), degrees, inside=True)
    assert made.min() == 255
    # The best same-shaped part by search: the largest share whose corners all stay inside.
    angle = np.radians(degrees)
    best = 0.0
    for share in np.linspace(0.001, 1, 1000):
        inside = True
        for sign in (1, -1):
            x, y = share * width / 2, sign * share * height / 2
            turned = (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))
            inside &= abs(turned[0]) <= width / 2 + 1e-9 and abs(turned[1]) <= height / 2 + 1e-9
        best = share if inside else best
    assert abs(made.shape[0] - height * best) <= 2.5
    assert abs(made.shape[1] - width * best) <= 2.5


def test_brightness_multiplies_and_stops_at_white() -> None:
    assert np.array_equal(edits.brightness(plain((100, 50, 200)), 0.5), plain((50, 25, 100)))
    assert np.array_equal(edits.brightness(plain((100, 50, 200)), 2), plain((200, 100, 255)))


def test_contrast_keeps_the_mean_grey() -> None:
    pixels = np.concatenate([plain((50,) * 3), plain((150,) * 3)])
    assert np.array_equal(np.unique(edits.contrast(pixels, 0.5)), [75, 125])
    assert np.array_equal(np.unique(edits.contrast(pixels, 0.0)), [100])


def test_saturation_zero_is_grey_by_luma() -> None:
    grey = edits.saturation(plain((200, 100, 50)), 0.0)
    assert np.array_equal(grey, plain((round(0.299 * 200 + 0.587 * 100 + 0.114 * 50),) * 3))
    assert np.array_equal(edits.saturation(some(), 1.0), some())


def test_gamma_follows_its_formula() -> None:
    pixels = some()
    made = edits.gamma(pixels, 1.8)
    for value, found in zip(pixels.ravel().tolist(), made.ravel().tolist(), strict=True):
        assert found == round((value / 255) ** 1.8 * 255)


def test_cast_multiplies_each_channel() -> None:
    made = edits.cast(plain((100, 100, 250)), red=1.5, green=0.5, blue=1.2)
    assert np.array_equal(made, plain((150, 50, 255)))


def test_hue_turns_the_colour_circle() -> None:
    pure = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    for colour, after in zip(pure, [*pure[1:], pure[0]], strict=True):
        made = edits.hue(plain(colour), 120)
        assert np.abs(made.astype(int) - plain(after).astype(int)).max() <= 4
    assert np.array_equal(edits.hue(plain((90, 90, 90)), 77), plain((90, 90, 90)))
    assert np.array_equal(edits.hue(plain((200, 90, 10)), 360), edits.hue(plain((200, 90, 10)), 0))


def test_blur_lowers_the_spread_and_keeps_the_mean() -> None:
    pixels = some(64, 64)
    made = edits.blur(pixels, 2)
    assert made.std() < 0.35 * pixels.std()
    assert abs(made.mean() - pixels.mean()) < 1
    assert np.array_equal(edits.blur(plain((7, 80, 200)), 3), plain((7, 80, 200)))


def test_jpeg_is_worse_at_lower_quality() -> None:
    smooth = edits.blur(some(64, 64), 3).astype(int)
    errors = [np.abs(edits.jpeg(smooth.astype(np.uint8), q) - smooth).mean() for q in (90, 30, 5)]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_noise_is_seeded_and_as_strong_as_asked() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    made = edits.noise(grey, 10, seed=3)
    assert np.array_equal(made, edits.noise(grey, 10, seed=3))
    assert not np.array_equal(made, edits.noise(grey, 10, seed=4))
    assert made.astype(float).std() == pytest.approx(10, abs=0.3)


def test_border_surrounds_the_picture() -> None:
    pixels = some(20, 40)
    made = edits.border(pixels, 0.1, grey=30)
    assert made.shape == (24, 44, 3)
    assert np.array_equal(made[2:-2, 2:-2], pixels)
    made[2:-2, 2:-2] = 30
    assert np.array_equal(np.unique(made), [30])


def test_text_is_white_with_a_black_edge_in_the_middle() -> None:
    grey = np.full((120, 300, 3), 128, np.uint8)
    made = edits.text(grey, "CBIR", share=0.3)
    changed = np.argwhere((made != 128).any(axis=2))
    assert {0, 255} <= set(np.unique(made).tolist())
    assert np.abs(changed.mean(axis=0) - (60, 150)).max() < 6
    assert 0.2 * 120 < np.ptp(changed[:, 0]) < 0.5 * 120


def test_erase_covers_its_block_only() -> None:
    pixels = some(10, 20)
    made = edits.erase(pixels, 0.5, x=0, y=0)
    assert np.array_equal(np.unique(made[:5, :10]), [edits.GREY])
    made[:5, :10] = pixels[:5, :10]
    assert np.array_equal(made, pixels)
