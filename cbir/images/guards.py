"""What a file's headers say of the memory and time that decoding takes, where Pillow does not ask.

- An icon (ICO, ICNS) is an envelope: its own header gives one size, the PNG, BMP or JPEG 2000 in it
  may have any other, and Pillow loads that one.
- A JPEG of several scans holds all its coefficients in memory, at full size, also where it is
  decoded at a reduced scale. Each scan goes over all of them once more, however few bytes it has.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from PIL import BmpImagePlugin, IcnsImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin, PngImagePlugin

from cbir.errors import ImageError

MAX_SCANS = 1000
"""Encoders write about ten."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SOS = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # markers without a length


def check_icon(file: BinaryIO, max_pixels: int) -> None:
    """ImageError where the picture in an icon is too large. Other files pass; rewinds the file.

    Before `Image.open`, which loads the picture of an ICO file.
    """
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if head not in (b"\0\0\1\0", b"icns"):
        return
    try:
        width, height = _in_ico(file) if head[0] == 0 else _in_icns(file)
    except Exception:  # Pillow, which takes the same way, says what is wrong
        return
    finally:
        file.seek(0)
    if width * height > max_pixels:
        raise ImageError(
            f"too large: an icon with a picture of {width} x {height} pixels in it; at most "
            f"{max_pixels:,} are read"
        )


def _in_ico(file: BinaryIO) -> tuple[int, int]:
    entry: Any = IcoImagePlugin.IcoFile(file).entry[0]
    file.seek(entry.offset)
    head = file.read(len(_PNG))
    file.seek(entry.offset)
    if head == _PNG:
        return PngImagePlugin.PngImageFile(file).size
    width, height = BmpImagePlugin.DibImageFile(file).size
    return width, height // 2


def _in_icns(file: BinaryIO) -> tuple[int, int]:
    icon: Any = IcnsImagePlugin.IcnsFile(file)
    sizes = [(1, 1)]
    for code, _ in icon.SIZES[icon.bestsize()]:
        start, length = icon.dct.get(code, (0, 0))
        file.seek(start)
        head = file.read(12)
        file.seek(start)
        if head.startswith(_PNG):
            sizes.append(PngImagePlugin.PngImageFile(file).size)
        elif b"jP  " in head or head[:4] in (b"\xff\x4f\xff\x51", b"\r\n\x87\n"):
            inner = io.BytesIO(file.read(length))
            sizes.append(Jpeg2KImagePlugin.Jpeg2KImageFile(inner).size)
    return max(sizes, key=lambda size: size[0] * size[1])


def several_scans(file: BinaryIO) -> bool:
    """Whether a JPEG has more than one scan: False for other files; rewinds the file.

    Raises ImageError for one with so many that it can only be made to waste time.
    """
    file.seek(0)
    try:
        if file.read(2) != b"\xff\xd8" or not _first_scan_is_partial(file):
            return False
        file.seek(0)
        scans, size, last = 0, 0, b""
        while block := file.read(1 << 20):
            scans += (last + block).count(bytes((0xFF, _SOS)))
            size += len(block)
            last = block[-1:]
    finally:
        file.seek(0)
    # What lies behind the picture (a film, in some phones' files) has the two bytes by chance.
    if scans > MAX_SCANS + size // 16384:
        raise ImageError(f"damaged: a JPEG with {scans} scans; at most {MAX_SCANS} are read")
    return True


def _first_scan_is_partial(file: BinaryIO) -> bool:
    """From behind a JPEG's first marker: whether the first scan leaves anything to later ones."""
    components, progressive = 0, False
    while byte := file.read(1):
        if byte != b"\xff":
            continue
        while byte == b"\xff":
            byte = file.read(1)
        if not byte or byte[0] in _ALONE:
            continue
        body = file.read(max(0, int.from_bytes(file.read(2)) - 2))
        if byte[0] in _FRAMES and len(body) > 5:
            components, progressive = body[5], byte[0] & 3 == 2
        elif byte[0] == _SOS and body:
            return progressive or body[0] < components
    return False
