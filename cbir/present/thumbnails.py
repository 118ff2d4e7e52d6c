"""Small JPEG pictures for pages and sheets, with a drawn stand-in where a file cannot be shown."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cbir.errors import ImageError, UsageError
from cbir.types import Pixels

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = "str | os.PathLike[str] | Pixels"

MISSING = "missing"
UNREADABLE = "cannot be read"

_QUALITY = 84
_SIDES = (16, 4096)
_STAND_IN_FILL = (108, 114, 124)  # mid grey: visible on light and on dark ground
_STAND_IN_INK = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture made small, and what is known of its file.

    `image` is RGB, at most `side` pixels wide and high. `width` and `height` are those of the
    whole upright picture and `format` is Pillow's name ("" for pixels); they are 0 and "" where
    `problem` says why the file is not shown ("missing", "cannot be read"), in which case `image`
    is a drawn stand-in and `detail` is the decoder's own reason, where there is one.
    """

    image: Image.Image
    width: int = 0
    height: int = 0
    format: str = ""
    problem: str | None = None
    detail: str = ""


def preview(source: Source, side: int) -> Preview:
    """The picture at most `side` pixels wide and high (never enlarged), or its stand-in.

    `source` is a file, or uint8 pixels (h, w, 3), RGB. A missing or broken file never raises.
    Raises UsageError for a side outside 16 to 4096 and for an array of any other kind.
    """
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise UsageError(
            f"side: expected {_SIDES[0]} to {_SIDES[1]} pixels; received {side}. "
            "Choose a size in this range."
        )
    if isinstance(source, np.ndarray):
        return _from_pixels(source, side)
    return _from_file(os.fspath(source), side)


def thumbnail(source: Source, side: int) -> bytes:
    """The bytes of a JPEG file: `preview(source, side)`, compressed."""
    return jpeg(preview(source, side).image)


def data_uri(source: Source, side: int) -> str:
    """`thumbnail(source, side)` as a `data:` address, to stand inside a page."""
    return to_data_uri(thumbnail(source, side))


def jpeg(image: Image.Image) -> bytes:
    """An RGB picture as the bytes of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()


def to_data_uri(content: bytes) -> str:
    """The bytes of a JPEG file as a `data:` address."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def _from_pixels(pixels: Pixels, side: int) -> Preview:
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UsageError(
            f"pixels: expected uint8 (h, w, 3), not empty; received {pixels.dtype} "
            f"{pixels.shape}. Convert the picture to 8-bit RGB."
        )
    height, width = pixels.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return Preview(_fitted(image, side), width, height)


def _from_file(path: str, side: int) -> Preview:
    from PIL import Image

    from cbir.images.decode import DecodeOptions, decode

    try:
        if not os.path.isfile(path):
            return stand_in(UNREADABLE if os.path.exists(path) else MISSING, side)
        decoded = decode(path, DecodeOptions(min_side=side // 2))  # keeps twice as much
        image = _fitted(Image.fromarray(decoded.pixels), side)
    except (ImageError, OSError, ValueError) as error:
        return stand_in(UNREADABLE, side, getattr(error, "reason", ""))
    return Preview(image, decoded.width, decoded.height, decoded.format)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    largest = max(image.size)
    if largest <= side:
        return image
    width, height = (max(1, round(length * side / largest)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def stand_in(problem: str, side: int, detail: str = "") -> Preview:
    """A grey picture, `side` wide and three quarters as high, that says what the problem is."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (side, side * 3 // 4), _STAND_IN_FILL)
    draw = ImageDraw.Draw(image)
    center = (image.width / 2, image.height / 2)
    font = ImageFont.load_default(max(6, side // 12))
    draw.text(center, problem, font=font, fill=_STAND_IN_INK, anchor="mm")
    inset, dash = side // 20, max(1, side // 160)
    box = (inset, inset, image.width - 1 - inset, image.height - 1 - inset)
    draw.rectangle(box, outline=_STAND_IN_INK, width=dash)
    return Preview(image, problem=problem, detail=detail)
