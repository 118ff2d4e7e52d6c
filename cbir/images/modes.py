"""Every kind of picture that Pillow opens → RGB uint8. One rule each:

- grey of 16 bits (I;16 in any byte order): scaled, value / 257, not clipped
- I (32-bit integer): 0..65535 as 16 bits; where values lie outside, stretched from least to largest
- F (float): values within 0..1 times 255; within 0..255 as they are; else stretched; what is not
  finite counts as the least finite value
- transparency (LA, PA, RGBA, La, RGBa, a transparent colour): laid onto white
- CMYK, YCCK: by the embedded profile, else Pillow's inversion; LAB, HSV, YCbCr: Pillow's
- an embedded ICC profile: converted to sRGB; one that cannot be read, or is of another kind of
  colours, is ignored, and so is one of wide grey
- 1-bit, grey, palette: plain conversion

All is done in bands of rows, so that next to the picture and the result little memory is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from cbir.types import Pixels

BAND_PIXELS = 2_000_000

_ALPHA = {"LA", "PA", "RGBA", "La", "RGBa"}
_LINEAR = {"RGB", "L", "CMYK", "YCbCr"}
_PROFILED = {"RGB", "L", "CMYK", "LAB"}
_SRGB: list[Any] = []


def to_rgb(image: Image.Image, factor: int = 1) -> Pixels:
    """RGB uint8 (h, w, 3), C order, by the rules above. The picture itself stays as it is.

    factor: the result is averaged over blocks of so many pixels in each direction; sides that are
    no multiple of it are rounded up, as by `Image.reduce`.
    """
    height, width = -(-image.height // factor), -(-image.width // factor)
    made = np.empty((height, width, 3), np.uint8)
    span = _span(image)
    for top, band in _bands(image, factor):
        pixels = _band(band, factor, span)
        made[top // factor : top // factor + len(pixels)] = pixels
    return made


def to_rgb_image(image: Image.Image, factor: int = 1) -> Image.Image:
    """As `to_rgb`, but a Pillow image: the picture itself where it is RGB and nothing is to be
    done, since to copy what libjpeg gave takes a tenth of the time that it took to decode it."""
    done = image.mode == "RGB" and factor == 1
    if done and not image.info.get("icc_profile") and "transparency" not in image.info:
        return image
    return Image.fromarray(to_rgb(image, factor))


def _bands(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """The picture's bands from top to bottom: first row, band. Each begins at a whole block."""
    rows = max(1, BAND_PIXELS // (image.width * factor)) * factor
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _band(band: Image.Image, factor: int, span: tuple[float, float]) -> Pixels:
    clear = band.mode in _ALPHA or "transparency" in band.info
    if band.mode in ("I", "F") or band.mode.startswith("I;16"):
        grey = _grey(band, span)
        pixels: Pixels = np.repeat(grey[:, :, None], 3, axis=2)
    elif clear:
        pixels = _onto_white(band)
    else:
        if factor > 1 and band.mode in _LINEAR:  # cheaper before than after the conversion
            info, band = band.info, band.reduce(factor)
            band.info, factor = info, 1
        pixels = np.asarray(_plain(band))
    # Averaged only now: colours that cannot be seen, palette numbers and the one transparent colour
    # must not be mixed.
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def _span(image: Image.Image) -> tuple[float, float]:
    """Least and largest finite value of a picture of mode I or F; 0, 0 where there is none."""
    if image.mode not in ("I", "F"):
        return 0, 0
    least, largest = [], []
    for _, band in _bands(image):
        values = np.asarray(band)
        finite = values[np.isfinite(values)]
        if finite.size:
            least.append(float(finite.min()))
            largest.append(float(finite.max()))
    return (min(least), max(largest)) if least else (0, 0)


def _grey(band: Image.Image, span: tuple[float, float]) -> Any:
    """A band of wide grey values as uint8."""
    values = np.asarray(band)
    if band.mode == "F":
        return _float_grey(values.astype(np.float64), *span)
    if band.mode == "I" and (span[0] < 0 or span[1] > 65535):
        return _stretched(values.astype(np.float64), *span)
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    clear = band.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return grey


def _float_grey(values: Any, low: float, high: float) -> Any:
    filled = np.where(np.isfinite(values), values, low)
    if low >= 0 and high <= 1:
        return np.rint(filled * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return np.rint(filled).astype(np.uint8)
    return _stretched(filled, low, high)


def _stretched(values: Any, low: float, high: float) -> Any:
    if high == low:
        return np.full(values.shape, 127, np.uint8)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


def _onto_white(image: Image.Image) -> Pixels:
    """Lay a picture with transparency onto white."""
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # A key of 16 bits; Pillow has cut the picture's own values to their upper 8 bits.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    alpha = image.convert("RGBA").getchannel("A")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(_plain(image), mask=alpha)
    return np.asarray(white)


def _plain(image: Image.Image) -> Image.Image:
    """A picture as RGB, by its profile where one fits; transparency is ignored."""
    profile = image.info.get("icc_profile")
    if profile:
        base = image
        if image.mode not in _PROFILED:
            base = image.convert("L" if image.mode in ("LA", "1") else "RGB")
        converted = _to_srgb(base, profile)
        if converted is not None:
            return converted
    if image.mode == "RGB":
        return image
    # Pillow would look for the transparent colour in the result.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    if not _SRGB:
        _SRGB.append(ImageCms.createProfile("sRGB"))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, _SRGB[0], outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
