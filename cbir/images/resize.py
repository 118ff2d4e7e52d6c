"""A picture → the square that a network takes. One filter: Pillow's antialiased BILINEAR.

squash  both sides to `size`, whatever the aspect ratio
crop    the shorter side to `size`, then the middle of the longer one
pad     the longer side to `size`, in the middle of mid grey (127); the shorter one is at least one
        pixel, and an odd pixel that is left over goes to the right or below
"""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from cbir.config import ResizePolicy
from cbir.errors import UsageError
from cbir.types import Pixels

FILTER = Image.Resampling.BILINEAR
GREY = 127

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,18})?|\.[0-9]{1,18}")


def resize(pixels: Pixels, size: int, policy: ResizePolicy = "squash") -> Pixels:
    """Uint8 (h, w, 3) → a new uint8 array (size, size, 3), C order."""
    return resize_image(Image.fromarray(pixels), size, policy)


def resize_image(image: Image.Image, size: int, policy: ResizePolicy = "squash") -> Pixels:
    """As `resize`, of a Pillow image of mode RGB."""
    width, height = image.size
    if policy == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        made = image.resize((size, size), FILTER, (left, top, left + side, top + side))
    elif policy == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        made = Image.new("RGB", (size, size), (GREY,) * 3)
        made.paste(image.resize(inner, FILTER), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    else:
        made = image.resize((size, size), FILTER)
    return np.array(made, np.uint8, order="C")


def crop_box(pixels: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    """A part of uint8 (h, w, 3) as a new array, C order; `box` as `parse_crop` gives it."""
    left, top, right, bottom = box
    return pixels[top:bottom, left:right].copy()


def parse_crop(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """ "X,Y,W,H" → left, top, right, bottom in pixels of the upright picture, of this size.

    Four whole numbers are pixels. Where one has a decimal point, or none is above 1, all are shares
    (0 to 1) of the picture's width and height. Nothing is clipped: raises UsageError for another
    form, and for a part that is empty or not wholly inside the picture.
    """
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise UsageError(
            "crop: expected X,Y,W,H, in pixels (10,20,300,200) or as shares (0.1,0.2,0.5,0.5); "
            f"received {text[:80]!r}."
        )
    x, y, w, h = (float(number) for number in numbers)
    shares = "." in text or max(x, y, w, h) <= 1
    if shares:
        x, w, y, h = x * width, w * width, y * height, h * height
    box = (round(x), round(y), round(x + w), round(y + h))
    if box[2] > width or box[3] > height or box[2] <= box[0] or box[3] <= box[1]:
        what = "shares from 0 to 1" if shares else "pixels"
        raise UsageError(
            f"crop: expected a part that lies inside the picture, which is {width} x {height} "
            f"pixels, and holds at least one; received {text!r} (read as {what})."
        )
    return box
