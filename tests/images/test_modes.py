"""Every mode → RGB, also in bands and averaged over blocks, against plain loops."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cbir.images import DecodeOptions, decode
from cbir.images import modes as module
from cbir.images.modes import to_rgb
from tests.broken import encoded, exchanged_profile, photo, png, png_chunk

SIZE = (61, 47)


def _clear() -> Image.Image:
    image = photo(SIZE, "RGBA")
    image.putalpha(photo(SIZE, "L").rotate(90))
    return image


def pictures() -> dict[str, Image.Image]:
    """One picture of every mode, and some with a transparent colour."""
    grey = np.asarray(photo(SIZE, "L")).astype(np.uint16) * 257
    made = {m: photo(SIZE, m) for m in ("1", "L", "RGB", "P", "CMYK", "YCbCr", "LAB", "HSV")}
    made |= {"RGBA": _clear(), "LA": _clear().convert("LA"), "RGBa": _clear().convert("RGBa")}
    made |= {"La": made["LA"].convert("La"), "PA": made["P"].convert("PA")}
    made |= {"I;16": Image.fromarray(grey), "I": Image.fromarray(grey.astype(np.int32) * 9 - 5)}
    made |= {"I;16B": Image.frombytes("I;16B", SIZE, grey.astype(">u2").tobytes())}
    made |= {"I;16L": Image.frombytes("I;16L", SIZE, grey.astype("<u2").tobytes())}
    made |= {"F": Image.fromarray(grey.astype(np.float32))}
    for mode, key in (("P", 3), ("P", bytes(range(0, 256, 5))), ("L", 99), ("RGB", (9, 9, 9))):
        image = made[mode].copy()
        image.info["transparency"] = key
        made[f"{mode} with {key!r:.9}"] = image
    return made


MADE = pictures()


def means(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Block means, by a plain loop; blocks at the right and below may be smaller."""
    rows = range(0, pixels.shape[0], factor)
    columns = range(0, pixels.shape[1], factor)
    blocks = [[pixels[y : y + factor, x : x + factor].mean((0, 1)) for x in columns] for y in rows]
    return np.array(blocks)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_bands_and_blocks(name: str, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = MADE[name]
    before = image.tobytes(), dict(image.info)
    whole = to_rgb(image, factor)
    assert whole.dtype == np.uint8 and whole.flags.c_contiguous and whole.flags.owndata
    monkeypatch.setattr(module, "BAND_PIXELS", 500)
    assert np.array_equal(to_rgb(image, factor), whole)
    # CMYK and YCbCr are averaged before they are converted, and clipped then.
    limit = 4 if image.mode in ("YCbCr", "CMYK") else 1
    assert np.abs(whole - means(to_rgb(image), factor)).max() <= limit
    assert (image.tobytes(), dict(image.info)) == before


def test_stretching_looks_at_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BAND_PIXELS", 3)
    tall = np.array([[0.0], [100.0], [np.nan], [1000.0], [-np.inf], [500.0]], np.float32)
    found = to_rgb(Image.fromarray(np.repeat(tall, 3, axis=1)))[:, 0, 0]
    assert found.tolist() == [0, 26, 0, 255, 0, 128]
    wide = np.array([[-100], [0], [100], [300]], np.int32)
    found = to_rgb(Image.fromarray(np.repeat(wide, 3, axis=1)))[:, 0, 0]
    assert found.tolist() == [0, 64, 128, 255]
    assert to_rgb(Image.fromarray(np.full((9, 3), np.nan, np.float32))).max() == 0


def _row(values: list[int], depth: int, colour: int, extra: bytes) -> np.ndarray:
    """Decode a PNG of one row of 16-bit or of 8-bit values."""
    data = np.array(values, ">u2" if depth == 16 else np.uint8).tobytes()
    width = len(values) // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return decode(png(width, 1, zlib.compress(b"\0" + data), depth, colour, extra)).pixels[0]


def test_one_transparent_colour_of_16_bits() -> None:
    key = png_chunk(b"tRNS", b"\x12\x34")
    assert _row([0x1234, 0x1235, 65535, 0], 16, 0, key)[:, 0].tolist() == [255, 18, 255, 0]
    key = png_chunk(b"tRNS", b"\x12\x34\0\0\xff\xff")
    found = _row([0x1234, 0, 65535, 0x4321, 0, 65535], 16, 2, key)
    assert found.tolist() == [[255, 255, 255], [67, 0, 255]]


def test_alpha_of_16_bits_and_of_a_palette() -> None:
    assert _row([65535, 0, 0, 32768, 0, 0, 0, 0], 16, 6, b"").tolist() == [
        [255, 127, 127], [255, 255, 255],
    ]  # fmt: skip
    assert _row([0, 32768, 65535, 0], 16, 4, b"")[:, 0].tolist() == [127, 255]
    palette = png_chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    found = _row([0, 1, 2], 8, 3, palette + png_chunk(b"tRNS", bytes([0, 128])))
    assert found.tolist() == [[255, 255, 255], [127, 255, 127], [0, 0, 255]]


@pytest.mark.parametrize("key", [None, (0, 0, 0)])
def test_what_is_not_seen_is_not_mixed_in(key: tuple[int, int, int] | None) -> None:
    """Rows of red and of transparent black, so narrow that they are averaged."""
    rows = np.zeros((2400, 2400, 4), np.uint8)
    rows[::2] = (255, 0, 0, 255)
    image = Image.fromarray(rows if key is None else rows[:, :, :3].copy())
    extra = {} if key is None else {"transparency": key}
    found = decode(encoded(image, "PNG", compress_level=1, **extra), DecodeOptions(300)).pixels
    assert found.shape == (600, 600, 3)
    assert np.abs(found.astype(int) - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBa", "P", "PA", "YCbCr"])
def test_a_profile_counts_in_every_mode_of_colour(mode: str) -> None:
    flat = Image.new("RGB", (8, 8), (200, 40, 60))
    image = flat.quantize(4).convert(mode) if mode in ("P", "PA") else flat.convert(mode)
    image.info["icc_profile"] = exchanged_profile()
    assert np.abs(to_rgb(image).astype(int) - (60, 40, 200)).max() <= 2


def test_a_profile_of_other_colours_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"):
        image = photo(SIZE, mode)
        wanted = to_rgb(image)
        for profile in (lab, b"garbage" * 30, b"\0"):
            image.info["icc_profile"] = profile
            assert np.array_equal(to_rgb(image), wanted), (mode, profile[:9])
