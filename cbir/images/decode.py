"""A file's bytes → an upright RGB picture, or an `ImageError` that says why not.

- The format comes from the content. Formats: JPEG, MPO, PNG (and APNG), GIF, WebP, BMP, TIFF, AVIF,
  HEIC, PPM, TGA, ICO, ICNS, PCX, SGI, JPEG 2000, QOI, DDS. Of animations and of files with several
  pages, the first picture counts. Vector formats, PDF and video are refused by name.
- EXIF orientation 1 to 8 is applied; any other value, and EXIF that cannot be read, is ignored.
- Modes become RGB by the rules of `modes.py`.
- Limits are checked on the header's size, before memory is taken: 100 million pixels in memory, one
  thousand million in the header.
- A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (libjpeg does it while decoding), as long as
  both sides stay at least twice the size that is needed. A progressive JPEG holds all of its
  coefficients, so its whole size counts against the limit.
- A file that ends early is refused ("truncated"): half a picture would be silently wrong. A flipped
  bit that the format cannot notice decodes to what it decodes to.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from cbir.errors import ImageError, UsageError
from cbir.images.modes import to_rgb
from cbir.types import DecodedImage, Pixels

Source: TypeAlias = "bytes | str | os.PathLike[str] | BinaryIO"

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM",
           "TGA", "ICO", "ICNS", "PCX", "SGI", "JPEG2000", "QOI", "DDS")  # fmt: skip
MAX_PIXELS = 100_000_000
MAX_HEADER_PIXELS = 1_000_000_000

# Our own limits are checked in `_check_size`, for every picture and before it is loaded; Pillow's
# would only add a warning and a second, other limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata, which the rules above ignore. `catch_warnings` around each decode
# would not do: it is not safe in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_ready: list[bool] = []


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a picture is decoded.

    min_side           both sides may shrink to twice this, where the format can; None: full size
    max_pixels         most pixels held in memory
    max_header_pixels  most pixels that a header may claim
    """

    min_side: int | None = None
    max_pixels: int = MAX_PIXELS
    max_header_pixels: int = MAX_HEADER_PIXELS


def content_hash(source: Source) -> bytes:
    """The 16-byte BLAKE2b of a file's bytes; ImageError where it cannot be read."""
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).digest()
    try:
        with _opened(source) as file:
            digest = hashlib.blake2b(digest_size=16)
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.digest()
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})") from None


def decode(source: Source, options: DecodeOptions | None = None) -> DecodedImage:
    """The picture in a file, upright; uint8 (h, w, 3).

    Raises ImageError with one line that says why it cannot be used. Safe in several threads.
    """
    used = options or DecodeOptions()
    prepare_pillow()
    try:
        with _opened(source) as file:
            return _decode(file, used)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("needs more memory than there is") from None
    except OSError as error:
        raise ImageError(_reason(error)) from None
    except Exception as error:  # decoders of hostile files raise whatever they like
        raise ImageError(f"damaged: {_line(error)}") from None


def from_array(array: Pixels) -> DecodedImage:
    """A uint8 array (h, w, 3), (h, w, 4) or (h, w) as a picture; UsageError for another."""
    shape = np.shape(array)
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    if getattr(array, "dtype", None) != np.uint8 or not fits or 0 in shape:
        raise UsageError(
            "image: expected a uint8 array (h, w, 3), (h, w, 4) or (h, w); received "
            f"{getattr(array, 'dtype', type(array).__name__)} {shape}."
        )
    pixels = to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    return DecodedImage(pixels, shape[1], shape[0], "array")


def from_pil(image: Image.Image) -> DecodedImage:
    """A PIL image as an upright picture; ImageError where it cannot be loaded."""
    try:
        upright = _upright(image)
        pixels = to_rgb(upright)
    except Exception as error:  # lazily loaded files fail here
        raise ImageError(f"damaged: {_line(error)}") from None
    return DecodedImage(pixels, upright.width, upright.height, image.format or "PIL")


def prepare_pillow() -> None:
    """Once: let Pillow know all its formats, and HEIC."""
    if not _ready:
        import pillow_heif

        Image.init()
        pillow_heif.register_heif_opener(thumbnails=False)
        _ready.append(True)


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield file
    else:
        source.seek(0)
        yield source


def _decode(file: BinaryIO, options: DecodeOptions) -> DecodedImage:
    head = file.read(64)
    file.seek(0)
    if not head:
        raise ImageError("empty file")
    try:
        image: Image.Image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(_what(head)) from None
    with image:
        width, height = image.size
        _check_header(image, options)
        if options.min_side is not None:
            _draft(image, options.min_side)
        _check_size(image, (width, height), options)
        image.load()
        kind = image.format or "image"
        orientation = _orientation(image)
        if options.min_side is not None:
            image = _reduced(image, options.min_side)
        pixels = to_rgb(image)
    upright = np.ascontiguousarray(_TURNS[orientation](pixels))
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(upright, width, height, kind)


def _check_header(image: ImageFile.ImageFile | Image.Image, options: DecodeOptions) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if width * height > options.max_header_pixels:
        raise ImageError(
            f"too large: {width} x {height} pixels; at most {options.max_header_pixels:,} are read"
        )


def _check_size(image: Image.Image, whole: tuple[int, int], options: DecodeOptions) -> None:
    """Refuse what would take too much memory, as it would be decoded now."""
    progressive = bool(image.info.get("progressive") or image.info.get("progression"))
    width, height = whole if progressive else image.size
    if width * height > options.max_pixels:
        raise ImageError(
            f"too large: {width} x {height} pixels in memory; at most {options.max_pixels:,} are "
            "read (cbir index --max-megapixels)"
        )


def _draft(image: Image.Image, min_side: int) -> None:
    """Let libjpeg decode at a reduced scale: both sides at least twice what is needed."""
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L", "CMYK"):
        return
    shorter = min(image.size)
    for scale in (8, 4, 2):
        if -(-shorter // scale) >= 2 * min_side:
            image.draft(image.mode, (image.width // scale, image.height // scale))
            return


def _reduced(image: Image.Image, min_side: int) -> Image.Image:
    """Large pictures of other formats: averaged over blocks before they are converted."""
    factor = min(image.size) // (2 * min_side)
    if factor < 2 or image.width * image.height < 4_000_000:
        return image
    if image.mode in ("RGB", "L", "RGBA", "LA", "CMYK", "YCbCr", "LAB"):
        smaller = image.reduce(factor)
        smaller.info = image.info
        return smaller
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8 of a loaded picture; 1 where there is none that can be read.

    Only after loading: for TIFF and HEIC that itself turns the picture, and says so here.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is a TIFF inside the file: damaged ones fail in many ways
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    """A PIL image turned by its EXIF orientation."""
    image.load()
    orientation = _orientation(image)
    return image if orientation == 1 else image.transpose(_TRANSPOSE[orientation])


_TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p[::-1].transpose(1, 0, 2),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p[:, ::-1].transpose(1, 0, 2),
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _what(head: bytes) -> str:
    """Why the bytes are no picture, as far as the first ones tell."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "not an image: it is HTML"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"svg" in text):
        return "not supported: SVG is a vector format"
    if text.startswith(b"%pdf"):
        return "not supported: PDF is a document format"
    if text.startswith(b"%!ps"):
        return "not supported: PostScript is a vector format"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "not an image: it is text"
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"heic", b"mif1", b"heix", b"avis"):
        return "not supported: it is a video"
    if head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return "not supported: it is a video"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "not an image: it is text"
    return "not an image that can be read: damaged, or of a format that is not known"


def _reason(error: OSError) -> str:
    text = _line(error)
    if "truncated" in text.lower() or "unexpected end" in text.lower():
        return "truncated: the file ends early"
    if error.errno is not None:
        return f"cannot be read ({error.strerror or text})"
    return f"damaged: {text}"


def _line(error: BaseException) -> str:
    if isinstance(error, struct.error | EOFError):
        return "the file ends early"
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
