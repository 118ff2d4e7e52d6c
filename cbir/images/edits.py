"""Edits of a picture: uint8 (h, w, 3) → uint8, deterministic. For sample views and self-queries.

Each takes RGB and gives a new RGB array, C order, that may be written to; the one it was given
stays as it is. Every edit works down to a picture of one pixel. `EDITS` names edits with their
strength, as "jpeg-30" or "rotate-15".
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from cbir.types import Pixels

Edit: TypeAlias = Callable[[Pixels], Pixels]

GREY = 127
"""What is not in the picture: the corners of a turned one, an erased block."""


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def _pixels(image: Image.Image) -> Pixels:
    return np.array(image.convert("RGB"), np.uint8, order="C")


def _part(pixels: Pixels, share: float, x: float, y: float) -> tuple[slice, slice]:
    """Rows and columns of the part with `share` of each side, placed by x, y."""
    height, width = pixels.shape[:2]
    h, w = max(1, round(height * share)), max(1, round(width * share))
    top, left = round((height - h) * y), round((width - w) * x)
    return slice(top, top + h), slice(left, left + w)


def crop(pixels: Pixels, share: float, x: float = 0.5, y: float = 0.5) -> Pixels:
    """The part with `share` (0..1) of each side; x, y in 0..1 place it (0.5: the middle)."""
    return pixels[_part(pixels, share, x, y)].copy()


def scale(pixels: Pixels, share: float) -> Pixels:
    """Both sides times `share`."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return _pixels(_image(pixels).resize(size, Image.Resampling.BICUBIC))


def flip(pixels: Pixels) -> Pixels:
    """Left and right exchanged."""
    return pixels[:, ::-1].copy()


def quarter_turns(pixels: Pixels, turns: int) -> Pixels:
    """Turned anticlockwise by 90 degrees so many times."""
    return np.rot90(pixels, turns).copy()


def rotate(pixels: Pixels, degrees: float, inside: bool = False) -> Pixels:
    """Turned anticlockwise about the middle, by any angle.

    The size stays, and corners that come in are mid grey; with `inside`, the result is the largest
    part of the same aspect ratio, about the middle, in which there are no such corners.
    """
    image = _image(pixels)
    turned = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(GREY,) * 3)
    if not inside:
        return _pixels(turned)
    width, height = image.size
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    # Turned back, the part's bounding box must fit into the picture.
    share = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
    left, top = _margin(width, share), _margin(height, share)
    return _pixels(turned)[top : height - top, left : width - left].copy()


def _margin(side: int, share: float) -> int:
    """Pixels to cut off at either end so that at most `share` of a side is left, but something."""
    return min(math.ceil(side * (1 - share) / 2 - 1e-9), (side - 1) // 2)


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """All values times `factor`, at least 0; what goes beyond 255 stays there."""
    return _pixels(ImageEnhance.Brightness(_image(pixels)).enhance(factor))


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Distance from the picture's mean grey times `factor`, at least 0."""
    return _pixels(ImageEnhance.Contrast(_image(pixels)).enhance(factor))


def saturation(pixels: Pixels, factor: float) -> Pixels:
    """Distance from grey times `factor`, at least 0; with 0 the picture is grey."""
    return _pixels(ImageEnhance.Color(_image(pixels)).enhance(factor))


def gamma(pixels: Pixels, power: float) -> Pixels:
    """Values in 0..1 to a power: above 1 darkens, below 1 lightens the middle."""
    table = np.rint((np.arange(256) / 255) ** power * 255).astype(np.uint8)
    return np.ascontiguousarray(table[pixels])


def cast(pixels: Pixels, red: float, green: float, blue: float) -> Pixels:
    """Channels times factors: a coloured light."""
    lit = pixels.astype(np.float64) * (red, green, blue)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def hue(pixels: Pixels, degrees: float) -> Pixels:
    """The colour circle turned, in steps of 360 / 256 degrees (Pillow's HSV); greys stay."""
    hues, saturations, values = _image(pixels).convert("HSV").split()
    shift = round(degrees / 360 * 256)
    turned = hues.point([(i + shift) % 256 for i in range(256)])
    return _pixels(Image.merge("HSV", (turned, saturations, values)))


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur; radius in pixels."""
    return _pixels(_image(pixels).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Once through JPEG."""
    out = io.BytesIO()
    _image(pixels).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        return _pixels(image)


def noise(pixels: Pixels, deviation: float, seed: int = 0) -> Pixels:
    """Gaussian noise of this standard deviation, seeded."""
    added = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.clip(np.rint(pixels + added), 0, 255).astype(np.uint8)


def border(pixels: Pixels, share: float, grey: int = 255) -> Pixels:
    """A plain border; `share` of the shorter side wide."""
    width = max(1, round(min(pixels.shape[:2]) * share))
    return np.pad(pixels, ((width, width), (width, width), (0, 0)), constant_values=grey)


def text(pixels: Pixels, words: str = "SAMPLE", share: float = 0.12) -> Pixels:
    """Words across the middle, white with a black edge; `share` of the height high."""
    image = _image(pixels)
    size = max(8, round(image.height * share))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text(
        (image.width / 2, image.height / 2), words, "white", font, "mm",
        stroke_width=max(1, size // 12), stroke_fill="black",
    )  # fmt: skip
    return _pixels(image)


def erase(pixels: Pixels, share: float, x: float = 0.5, y: float = 0.5) -> Pixels:
    """A mid grey block over `share` of each side; x, y in 0..1 place it."""
    made = pixels.copy()
    made[_part(pixels, share, x, y)] = GREY
    return made


EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "crop-80": partial(crop, share=0.8),
        "crop-60": partial(crop, share=0.6),
        "scale-50": partial(scale, share=0.5),
        "scale-25": partial(scale, share=0.25),
        "flip": flip,
        "turn-90": partial(quarter_turns, turns=1),
        "turn-180": partial(quarter_turns, turns=2),
        "rotate-5": partial(rotate, degrees=5),
        "rotate-15": partial(rotate, degrees=15),
        "rotate-15-inside": partial(rotate, degrees=15, inside=True),
        "dark-60": partial(brightness, factor=0.6),
        "light-140": partial(brightness, factor=1.4),
        "contrast-60": partial(contrast, factor=0.6),
        "grey": partial(saturation, factor=0.0),
        "saturation-160": partial(saturation, factor=1.6),
        "gamma-180": partial(gamma, power=1.8),
        "warm": partial(cast, red=1.2, green=1.0, blue=0.75),
        "cold": partial(cast, red=0.75, green=1.0, blue=1.2),
        "hue-20": partial(hue, degrees=20),
        "hue-40": partial(hue, degrees=40),
        "blur-1": partial(blur, radius=1),
        "blur-2": partial(blur, radius=2),
        "jpeg-30": partial(jpeg, quality=30),
        "jpeg-10": partial(jpeg, quality=10),
        "noise-10": partial(noise, deviation=10),
        "border-5": partial(border, share=0.05),
        "text": text,
        "erase-30": partial(erase, share=0.3),
    }
)
