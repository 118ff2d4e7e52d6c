"""A picture → the square that a network takes. One filter: Pillow's antialiased BILINEAR.

squash  both sides to `size`, whatever the aspect ratio
crop    the shorter side to `size`, then the middle of the longer one
pad     the longer side to `size`, on mid grey (127)
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


def resize(pixels: Pixels, size: int, policy: ResizePolicy = "squash") -> Pixels:
    """Uint8 (h, w, 3) → uint8 (size, size, 3), C order."""
    image = Image.fromarray(pixels)
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
    return np.ascontiguousarray(np.asarray(made))


def parse_crop(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """ "X,Y,W,H" → left, top, right, bottom in pixels of a picture of this size.

    Four whole numbers are pixels; where a number has a decimal point, all are shares (0 to 1) of
    the upright picture's width and height. Raises UsageError for another form, or for a part that
    is empty or not inside the picture.
    """
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 4 or not all(re.fullmatch(r"\d+(\.\d*)?|\.\d+", n) for n in numbers):
        raise UsageError(
            "crop: expected X,Y,W,H, in pixels (10,20,300,200) or as shares (0.1,0.2,0.5,0.5); "
            f"received {text!r}."
        )
    x, y, w, h = (float(n) for n in numbers)
    if any("." in n for n in numbers):
        x, w, y, h = x * width, w * width, y * height, h * height
    box = (round(x), round(y), round(x + w), round(y + h))
    if box[2] > width or box[3] > height or box[2] <= box[0] or box[3] <= box[1]:
        raise UsageError(
            f"crop: expected a part inside the picture, which is {width} x {height} pixels; "
            f"received {text!r}."
        )
    return box
