"""Size policies against a plain implementation of the antialiased triangle filter; crops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbir.errors import UsageError
from cbir.images.resize import GREY, crop_box, parse_crop, resize
from cbir.types import Pixels


def some(height: int, width: int, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def weights(length: int, size: int, start: float, end: float) -> np.ndarray:
    """(size, length): the triangle filter, as wide as the step where the picture shrinks."""
    step = (end - start) / size
    wide = max(step, 1.0)
    made = np.zeros((size, length))
    for i in range(size):
        centre = start + (i + 0.5) * step
        for j in range(length):
            made[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / wide)
        made[i] /= made[i].sum()
    return made


def plain(pixels: Pixels, size: tuple[int, int], box: tuple[float, float, float, float]) -> Pixels:
    """Pixels of `box` (left, top, right, bottom) at `size` (w, h), one axis after the other."""
    across = weights(pixels.shape[1], size[0], box[0], box[2])
    down = weights(pixels.shape[0], size[1], box[1], box[3])
    rows = np.rint(np.einsum("xj,yjc->yxc", across, pixels.astype(float)))
    return np.clip(np.rint(np.einsum("yi,ixc->yxc", down, rows)), 0, 255).astype(np.uint8)


def near(found: Pixels, wanted: Pixels) -> bool:
    return found.shape == wanted.shape and int(np.abs(found.astype(int) - wanted).max()) <= 1


SHAPES = [(40, 60), (60, 40), (33, 33), (7, 90), (5, 4), (1, 1), (1, 50), (50, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_squash_is_the_triangle_filter(shape: tuple[int, int]) -> None:
    pixels = some(*shape)
    wanted = plain(pixels, (16, 16), (0, 0, shape[1], shape[0]))
    assert near(resize(pixels, 16, "squash"), wanted)
    assert np.array_equal(resize(pixels, 16), resize(pixels, 16, "squash"))


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_is_the_middle_of_the_resized_picture(shape: tuple[int, int]) -> None:
    pixels = some(*shape)
    side = min(shape)
    left, top = (shape[1] - side) / 2, (shape[0] - side) / 2
    wanted = plain(pixels, (16, 16), (left, top, left + side, top + side))
    assert near(resize(pixels, 16, "crop"), wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_pad_keeps_the_shape_on_mid_grey(shape: tuple[int, int]) -> None:
    pixels = some(*shape)
    height, width = (max(1, round(side * 16 / max(shape))) for side in shape)
    top, left = (16 - height) // 2, (16 - width) // 2
    wanted = np.full((16, 16, 3), GREY, np.uint8)
    inner = plain(pixels, (width, height), (0, 0, shape[1], shape[0]))
    wanted[top : top + height, left : left + width] = inner
    assert near(resize(pixels, 16, "pad"), wanted)


@pytest.mark.parametrize("policy", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (3, 3), (300, 200)])
def test_the_result_is_a_new_square(policy: str, shape: tuple[int, int]) -> None:
    pixels = some(*shape)
    before = pixels.copy()
    made = resize(pixels, 24, policy)  # type: ignore[arg-type]
    assert made.shape == (24, 24, 3) and made.dtype == np.uint8
    assert made.flags.c_contiguous and made.flags.writeable
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("policy", ["squash", "crop", "pad"])
def test_a_square_of_the_right_size_stays_as_it_is(policy: str) -> None:
    pixels = some(24, 24)
    made = resize(pixels, 24, policy)  # type: ignore[arg-type]
    assert np.array_equal(made, pixels) and not np.shares_memory(made, pixels)


def test_channels_stay_in_order() -> None:
    red = np.zeros((50, 70, 3), np.uint8)
    red[..., 0] = 200
    assert np.array_equal(resize(red, 8)[4, 4], [200, 0, 0])


def test_crop_box_is_a_new_part() -> None:
    pixels = some(10, 20)
    made = crop_box(pixels, (3, 2, 9, 7))
    assert np.array_equal(made, pixels[2:7, 3:9])
    assert made.flags.c_contiguous and not np.shares_memory(made, pixels)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 40, 60)),
        (" 10 , 20,30, 40 ", (10, 20, 40, 60)),
        ("0,0,200,100", (0, 0, 200, 100)),
        ("199,99,1,1", (199, 99, 200, 100)),
        ("0.25,0.5,0.5,0.5", (50, 50, 150, 100)),
        (".1,.2,.3,.4", (20, 20, 80, 60)),
        ("0,0,0.5,1", (0, 0, 100, 100)),
        ("0.,0,1,1", (0, 0, 200, 100)),
        ("0,0,1,1", (0, 0, 200, 100)),
        ("0,0,2,1", (0, 0, 2, 1)),
        ("0.7,0.9,0.3,0.1", (140, 90, 200, 100)),
    ],
)
def test_parse_crop_reads_pixels_and_shares(text: str, box: tuple[int, int, int, int]) -> None:
    assert parse_crop(text, 200, 100) == box


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,3,", "-1,0,5,5", "1e1,0,5,5", "nan,0,5,5",
     "1 2,3,4,5", "٣,0,5,5", "0x1,0,5,5", "9" * 400 + ",0,5,5", "1,2,3,4\n5"],
)  # fmt: skip
def test_parse_crop_refuses_other_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected X,Y,W,H"):
        parse_crop(text, 200, 100)


@pytest.mark.parametrize(
    "text",
    ["0,0,201,100", "0,0,200,101", "200,0,1,1", "10,10,0,5", "10,10,5,0", "0.5,0,0.6,1",
     "0.1,0.1,0.0001,0.5", "10.5,20,30,40", "999999999,0,5,5", "0,0,0,0"],
)  # fmt: skip
def test_parse_crop_clips_nothing_and_names_the_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"200 x 100 pixels"):
        parse_crop(text, 200, 100)


@given(st.text(max_size=30), st.integers(1, 10**6), st.integers(1, 10**6))
def test_parse_crop_gives_a_box_inside_or_a_usage_error(text: str, w: int, h: int) -> None:
    try:
        left, top, right, bottom = parse_crop(text, w, h)
    except UsageError:
        return
    assert 0 <= left < right <= w and 0 <= top < bottom <= h


@given(st.tuples(*[st.floats(0, 1)] * 4), st.integers(1, 10**5), st.integers(1, 10**5))
def test_parse_crop_of_shares_stays_inside(
    shares: tuple[float, ...], width: int, height: int
) -> None:
    x, y = shares[0], shares[1]
    w, h = shares[2] * (1 - x), shares[3] * (1 - y)
    text = ",".join(f"{value:.12f}" for value in (x, y, w, h))
    try:
        left, top, right, bottom = parse_crop(text, width, height)
    except UsageError:
        assert math.floor(w * width) <= 1 or math.floor(h * height) <= 1
        return
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
