"""Files → batches for the embedder, through a bounded look-ahead of decoding threads.

Memory does not depend on how many files there are: at most a few batches are in the air. Results
come in the order of the files.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import Image

from cbir.config import EmbedderSpec
from cbir.errors import ImageError
from cbir.images.decode import (
    FORMATS,
    MAX_PIXELS,
    DecodeOptions,
    UprightImage,
    content_hash,
    decode,
    decode_image,
    from_array,
    from_pil,
    prepare_pillow,
)
from cbir.images.guards import check_icon
from cbir.images.resize import crop_box, parse_crop, resize, resize_image
from cbir.machine import cores
from cbir.types import DecodedImage, Failure, ImageInput, ImageRef, LoadedImage, Pixels

IN_MEMORY = 64 << 20
"""Files up to this size are read once, whole; larger ones are hashed and decoded from the disk."""

LARGE = 25_000_000
"""Pictures of more pixels are decoded one at a time, so that their memory does not add up."""

_one_large = threading.Semaphore(1)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files are made ready.

    spec        the embedder's settings: input size, resize policy
    batch_size  files in a batch, at most
    workers     decoding threads; 0: one a core
    max_pixels  most pixels of a picture in memory
    known       says whether a content (by its hash) needs no decoding; called in the threads
    """

    spec: EmbedderSpec
    batch_size: int = 32
    workers: int = 0
    max_pixels: int = MAX_PIXELS
    known: Callable[[bytes], bool] = field(default=lambda _: False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that are ready, and those that could not be used, in the order of the refs.

    `cpu_s`: seconds of computing that the threads spent on them.
    """

    images: tuple[LoadedImage, ...]
    failures: tuple[tuple[ImageRef, Failure], ...]
    cpu_s: float = 0.0


def load(refs: Iterable[ImageRef], options: LoadOptions) -> Iterator[Batch]:
    """Read, hash, decode and resize files. Closing the iterator stops the threads."""
    workers = options.workers or cores()
    pool = ThreadPoolExecutor(workers, "cbir-decode")
    ahead: deque[tuple[ImageRef, Future[tuple[LoadedImage | ImageError, float]]]] = deque()
    room = 2 * options.batch_size + workers
    source = iter(refs)
    images: list[LoadedImage] = []
    failures: list[tuple[ImageRef, Failure]] = []
    spent = 0.0
    try:
        while True:
            while len(ahead) < room and (ref := next(source, None)) is not None:
                ahead.append((ref, pool.submit(_timed, ref, options)))
            if not ahead:
                break
            ref, future = ahead.popleft()
            made, seconds = future.result()
            spent += seconds
            if isinstance(made, ImageError):
                failures.append((ref, Failure(ref.file, made.reason, made.passing)))
            else:
                images.append(made)
            if len(images) + len(failures) >= options.batch_size:
                yield Batch(tuple(images), tuple(failures), spent)
                images, failures, spent = [], [], 0.0
        if images or failures:
            yield Batch(tuple(images), tuple(failures), spent)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _timed(ref: ImageRef, options: LoadOptions) -> tuple[LoadedImage | ImageError, float]:
    """One file made ready, or why not; and the seconds that this thread computed."""
    start = time.thread_time()
    try:
        return load_one(ref, options), time.thread_time() - start
    except ImageError as error:
        return error, time.thread_time() - start


def load_one(ref: ImageRef, options: LoadOptions) -> LoadedImage:
    """One file made ready; ImageError where it cannot be used."""
    try:
        with open(ref.file, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            source: bytes | BinaryIO = file.read() if size <= IN_MEMORY else file
            return _load_from(ref, source, options)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})", passing=True) from None
    except MemoryError:
        raise ImageError("needs more memory than there is") from None


def _load_from(ref: ImageRef, source: bytes | BinaryIO, options: LoadOptions) -> LoadedImage:
    content = content_hash(source)
    if options.known(content):
        return LoadedImage(ref, content, None, 0, 0, "")
    decoded = _decode_bounded(source, options)
    spec = options.spec
    pixels = resize_image(decoded.image, spec.input_size, spec.resize)
    return LoadedImage(ref, content, pixels, decoded.width, decoded.height, decoded.format)


def _decode_bounded(source: bytes | BinaryIO, options: LoadOptions) -> UprightImage:
    """Decode; a large picture only while no other large one is being decoded."""
    wanted = DecodeOptions(options.spec.input_size, options.max_pixels)
    if _header_pixels(source) <= LARGE:
        return decode_image(source, wanted)
    with _one_large:
        return decode_image(source, wanted)


def _header_pixels(source: bytes | BinaryIO) -> int:
    """Pixels that the header claims, 0 where it says nothing that can be read."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    prepare_pillow()
    try:
        check_icon(file, MAX_PIXELS)
        with Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # `decode` says what is wrong
        return 0


def prepare(source: ImageInput, spec: EmbedderSpec, crop: str | None = None) -> LoadedImage:
    """One query picture made ready: a path, bytes, a PIL image or a uint8 array.

    crop: "X,Y,W,H", a part of the upright picture (see `parse_crop`); it is then decoded whole.
    Raises ImageError (it cannot be read), UsageError (another type, a crop that does not fit).
    """
    options = DecodeOptions(None if crop else spec.input_size)
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        try:
            with open(name, "rb") as file:
                data = file.read()
        except (OSError, ValueError) as error:  # ValueError: a path that no file can have
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"cannot be read ({reason})", name) from None
        try:
            decoded, content = _decoded(data, options), content_hash(data)
        except ImageError as error:
            raise ImageError(error.reason, name) from None
    elif isinstance(source, bytes):
        decoded, content, name = _decoded(source, options), content_hash(source), "(bytes)"
    else:
        decoded = (
            from_pil(source) if isinstance(source, Image.Image) else from_array(_array(source))
        )
        content, name = content_hash(b"pixels" + decoded.pixels.tobytes()), "(picture)"
    if isinstance(decoded, UprightImage):
        ready = resize_image(decoded.image, spec.input_size, spec.resize)
    else:
        pixels = decoded.pixels
        if crop is not None:
            pixels = crop_box(pixels, parse_crop(crop, decoded.width, decoded.height))
        ready = resize(pixels, spec.input_size, spec.resize)
    ref = ImageRef("", name, 0, 0)
    return LoadedImage(ref, content, ready, decoded.width, decoded.height, decoded.format)


def _decoded(data: bytes, options: DecodeOptions) -> DecodedImage | UprightImage:
    """Pixels where a part of them is to be cut out, else what is resized without a copy."""
    return (decode if options.min_side is None else decode_image)(data, options)


def _array(source: object) -> Pixels:
    """The array that a caller gave; `from_array` says what is wrong with another type."""
    return source  # type: ignore[return-value]
