"""What the benchmarks of speed work on: a job, pictures in memory, JPEG files of given sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cbir.evaluate import Truth
from cbir.images import DecodeOptions, decode, resize
from cbir.images.decode import decode_image
from cbir.images.resize import resize_image
from cbir.types import Pixels

SIZES = {"500x375": (500, 375), "1600x1200": (1600, 1200), "4000x3000": (4000, 3000)}


@dataclass(frozen=True)
class Job:
    """What a part works on: picture files, protocols, and whether it is a trial run."""

    files: list[str]
    truths: dict[str, Truth]
    quick: bool

    def rounds(self, full: int) -> int:
        """Rounds of a comparison."""
        return 1 if self.quick else full


def shown(job: Job, side: int, count: int) -> Pixels:
    """Pictures made ready, uint8 (count, side, side, 3)."""
    wanted = [job.files[i % len(job.files)] for i in range(count)]
    return np.stack([resize(decode(f, DecodeOptions(side)).pixels, side, "squash") for f in wanted])


def read(file: str, side: int | None) -> Pixels:
    """A picture, decoded no smaller than twice the side; None: whole."""
    return decode(file, DecodeOptions(side)).pixels


def decoder(files: list[str], side: int | None = None) -> Callable[[], int]:
    """Reads files, decodes and resizes them: as cbir does for this side, or with plain Pillow."""

    def by_cbir() -> int:
        for file in files:
            with open(file, "rb") as opened:  # as `cbir index` does it: read once, whole
                data = opened.read()
            resize_image(decode_image(data, DecodeOptions(side)).image, 224)
        return len(files)

    def by_pillow() -> int:
        for file in files:
            with Image.open(file) as image:
                np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        return len(files)

    return by_pillow if side is None else by_cbir


def photos(job: Job, folder: str, name: str, size: tuple[int, int], count: int) -> list[str]:
    """JPEGs of this size: mosaics of real photographs, since scaled-up ones would decode faster."""
    width, height = size
    made = []
    tile = 500 if width > 500 else width
    for i in range(count):
        canvas = Image.new("RGB", size)
        at = 0
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                with Image.open(job.files[(i * 7 + at * 13) % len(job.files)]) as image:
                    canvas.paste(image.convert("RGB").resize((tile, tile)), (x, y))
                at += 1
        made.append(os.path.join(folder, f"{name}-{i:03d}.jpg"))
        canvas.save(made[-1], quality=90)
    return made
