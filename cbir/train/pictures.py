"""Pictures to train on: decoded once, a little larger than the network takes, kept as uint8.

In memory while that is small, else in a file that the system pages in and out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cbir.config import EmbedderSpec
from cbir.errors import OperationFailedError, UsageError
from cbir.evaluate.embedding import reference
from cbir.images import LoadOptions, load
from cbir.types import Failure, ImageRef, Pixels

MARGIN = 1.15
"""Side of a kept picture over the network's: crops are cut from it and scaled down."""
IN_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pixels uint8 (n, s, s, 3) of the files that could be read; `rows` their places among those
    asked for; the others are in `failures`."""

    pixels: Pixels
    rows: tuple[int, ...]
    failures: tuple[Failure, ...]


def read_pictures(
    paths: Sequence[str],
    spec: EmbedderSpec,
    margin: float = MARGIN,
    advance: Callable[[int], None] = lambda _: None,
) -> Pictures:
    """Decode files for a network of these settings; one that cannot be used is in `failures`."""
    side = round(spec.input_size * margin)
    shape = (len(paths), side, side, 3)
    pixels = _room(shape)
    refs = [reference(path) for path in paths]
    places: dict[ImageRef, list[int]] = {}
    for i, ref in enumerate(refs):
        places.setdefault(ref, []).append(i)
    good: list[int] = []
    failures: list[Failure] = []
    for batch in load(places, LoadOptions(spec=replace(spec, input_size=side))):
        for image in batch.images:
            for row in places[image.ref]:
                assert image.pixels is not None
                pixels[row] = image.pixels
                good.append(row)
        failures += [failure for _, failure in batch.failures]
        advance(len(batch.images) + len(batch.failures))
    good.sort()
    return Pictures(
        pixels if len(good) == len(paths) else pixels[good], tuple(good), tuple(failures)
    )


def read_all(
    paths: Sequence[str], spec: EmbedderSpec, margin: float, advance: Callable[[int], None]
) -> Pixels:
    """Pixels of files that could be read a moment ago; UsageError where one cannot any more."""
    read = read_pictures(paths, spec, margin, advance)
    if read.failures:
        raise UsageError(
            f"{read.failures[0].path} cannot be read any more ({read.failures[0].reason}). "
            "Expected the pictures to stay as they are: run the command again."
        )
    return read.pixels


def _room(shape: tuple[int, int, int, int]) -> Pixels:
    if int(np.prod(shape, dtype=np.int64)) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    size = int(np.prod(shape, dtype=np.int64))
    try:
        handle, name = tempfile.mkstemp(prefix="cbir-pictures-")
        try:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process later
                os.posix_fallocate(handle, 0, size)
        except OSError:
            os.unlink(name)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        raise OperationFailedError(
            f"The decoded pictures need {size / 1e9:.1f} GB in {tempfile.gettempdir()} "
            f"({error.strerror or error}). Free space there, or name another folder with TMPDIR."
        ) from None
    mapped = (
        np.memmap(name, np.uint8, "r+", shape=shape)
        if os.path.getsize(name)
        else np.memmap(name, np.uint8, "w+", shape=shape)
    )
    try:
        os.unlink(name)  # the mapping keeps it; it goes with the process
    except OSError:  # Windows keeps a mapped file: the system's temporary folder is cleaned there
        pass
    return mapped
