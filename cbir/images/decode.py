"""A file's bytes → an upright RGB picture, or an `ImageError` that says why not.

- The format comes from the content. Formats: JPEG, MPO, PNG (and APNG), GIF, WebP, BMP, TIFF, AVIF,
  HEIC, PPM, TGA, ICO, ICNS, PCX, SGI, JPEG 2000, QOI, DDS. Of animations and of files with several
  pages, the first picture counts. Vector formats, PDF and video are refused by name.
- EXIF orientation 1 to 8 is applied; any other value, and EXIF that cannot be read, is ignored.
- Modes become RGB by the rules of `modes.py`.
- Limits are checked on the header's size, before memory is taken: 100 million pixels in memory, one
  thousand million in the header.
- A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (libjpeg does it while decoding), as long as
  both sides stay at least twice the size that is needed. One of several scans (a progressive one)
  holds all of its coefficients, so its whole size counts against the limit. Large pictures of other
  formats are averaged over blocks, within the same bound.
- A file that ends early is refused ("truncated"): half a picture would be silently wrong. A flipped
  bit that the format cannot notice decodes to what it decodes to.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, _imaging

from cbir.errors import ImageError, UsageError
from cbir.images.guards import check_icon, several_scans
from cbir.images.modes import to_rgb, to_rgb_image
from cbir.images.reasons import is_passing, not_an_image, one_line, why
from cbir.types import DecodedImage, Pixels

Source: TypeAlias = "bytes | str | os.PathLike[str] | BinaryIO"

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM",
           "TGA", "ICO", "ICNS", "PCX", "SGI", "JPEG2000", "QOI", "DDS")  # fmt: skip
MAX_PIXELS = 100_000_000
MAX_HEADER_PIXELS = 1_000_000_000
REDUCED_PIXELS = 4_000_000

# Our own limits are checked in `_check_size`, for every picture and before it is loaded; Pillow's
# would only add a warning and a second, other limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata, which the rules above ignore. `catch_warnings` around each decode
# would not do: it is not safe in several threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr
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


@dataclass(frozen=True, slots=True)
class UprightImage:
    """A `DecodedImage` whose pixels are still Pillow's: `image`, of mode RGB."""

    image: Image.Image
    width: int
    height: int
    format: str


Made = TypeVar("Made")


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
        reason = f"cannot be read ({error.strerror or error})"
        raise ImageError(reason, passing=is_passing(error)) from None
    except ValueError as error:  # a path that no file can have
        raise ImageError(f"cannot be read ({one_line(error)})") from None


def decode(source: Source, options: DecodeOptions | None = None) -> DecodedImage:
    """The picture in a file, upright; uint8 (h, w, 3).

    Raises ImageError with one line that says why it cannot be used. Safe in several threads.
    """
    return _guarded(source, options or DecodeOptions(), _decode)


def decode_image(source: Source, options: DecodeOptions | None = None) -> UprightImage:
    """As `decode`, but as a Pillow image of mode RGB: nothing is copied where it is one already."""
    return _guarded(source, options or DecodeOptions(), _decode_image)


def _guarded(
    source: Source, options: DecodeOptions, how: Callable[[BinaryIO, DecodeOptions], Made]
) -> Made:
    prepare_pillow()
    try:
        with _opened(source) as file:
            return how(file, options)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("needs more memory than there is") from None
    except Exception as error:  # decoders of hostile files raise whatever they like
        raise ImageError(why(error), passing=is_passing(error)) from None


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
        if 0 in upright.size:
            raise ImageError(f"has no pixels ({upright.width} x {upright.height})")
        pixels = to_rgb(upright)
    except ImageError:
        raise
    except Exception as error:  # lazily loaded files fail here
        raise ImageError(f"damaged: {one_line(error)}") from None
    return DecodedImage(pixels, upright.width, upright.height, image.format or "PIL")


def prepare_pillow() -> None:
    """Once: let Pillow know all its formats, and HEIC."""
    if not _ready:
        import pillow_heif

        Image.init()
        pillow_heif.register_heif_opener(thumbnails=False)
        _silence_libtiff()
        _ready.append(True)


def _silence_libtiff() -> None:
    """Where it can be reached: let libtiff not write to stderr, past Python, what is wrong.

    Pillow raises for the same faults. Looking a name up in its extension module also finds those of
    the libraries that it is linked with; not on Windows, where the messages stay.
    """
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)


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
    image, orientation, size = _loaded(file, options)
    kind = image.format or "image"
    pixels = to_rgb(image, _factor(image, options.min_side))
    del image  # so that its memory can be had for the turned copy
    return DecodedImage(np.ascontiguousarray(_TURNS[orientation](pixels)), *size, kind)


def _decode_image(file: BinaryIO, options: DecodeOptions) -> UprightImage:
    image, orientation, size = _loaded(file, options)
    kind = image.format or "image"
    image = to_rgb_image(image, _factor(image, options.min_side))
    upright = image if orientation == 1 else image.transpose(_TRANSPOSE[orientation])
    return UprightImage(upright, *size, kind)


def _loaded(file: BinaryIO, options: DecodeOptions) -> tuple[Image.Image, int, tuple[int, int]]:
    """A picture as the file has it, its orientation, and the size of the whole upright picture."""
    head = file.read(64)
    file.seek(0)
    if not head:
        raise ImageError("empty file")
    check_icon(file, options.max_pixels)
    scans = several_scans(file)
    try:
        image: Image.Image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(not_an_image(head)) from None
    with image:
        width, height = image.size
        _check_header(image, options)
        if options.min_side is not None:
            _draft(image, options.min_side)
        _check_size((width, height) if scans else image.size, options)
        image.load()
    orientation = _orientation(image)
    return image, orientation, (width, height) if orientation < 5 else (height, width)


def _check_header(image: ImageFile.ImageFile | Image.Image, options: DecodeOptions) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if width * height > options.max_header_pixels:
        raise ImageError(
            f"too large: {width} x {height} pixels; at most {options.max_header_pixels:,} are read"
        )


def _check_size(size: tuple[int, int], options: DecodeOptions) -> None:
    """Refuse what would take too much memory, as it would be decoded now."""
    if size[0] * size[1] > options.max_pixels:
        raise ImageError(
            f"too large: {size[0]} x {size[1]} pixels in memory; at most {options.max_pixels:,} "
            "are read (cbir index --max-megapixels)"
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


def _factor(image: Image.Image, min_side: int | None) -> int:
    """The blocks over which a large picture is averaged."""
    if min_side is None or image.width * image.height < REDUCED_PIXELS:
        return 1
    return max(1, min(image.size) // (2 * min_side))


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
