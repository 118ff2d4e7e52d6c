"""The sample gallery: photographs from the scikit-image wheel, each with several views.

A query with one view has right answers that one can see: the other views. Light and colour change
from view to view, so that a colour histogram does not find them all.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
from PIL import Image

from cbir.errors import OperationFailedError, UsageError
from cbir.images import edits
from cbir.images.decode import DecodeOptions, decode
from cbir.types import Pixels

MANIFEST = "manifest.csv"
PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
LONGEST = 480


def _both(first: edits.Edit, second: edits.Edit) -> edits.Edit:
    return lambda pixels: second(first(pixels))


VIEWS: Mapping[str, edits.Edit] = {
    "original.jpg": lambda pixels: pixels,
    "closer.jpg": _both(partial(edits.crop, share=0.75, x=0.4, y=0.4),
                        partial(edits.brightness, factor=1.3)),
    "flipped, warm.png": _both(edits.flip, partial(edits.cast, red=1.25, green=1.0, blue=0.7)),
    "tilted, dark.jpg": _both(partial(edits.rotate, degrees=7),
                              partial(edits.brightness, factor=0.6)),
    "cold.webp": partial(edits.cast, red=0.7, green=1.0, blue=1.25),
    "grey.jpg": _both(partial(edits.saturation, factor=0.0), partial(edits.contrast, factor=0.7)),
    "blurred, shifted hue.jpg": _both(partial(edits.blur, radius=1.2),
                                      partial(edits.hue, degrees=35)),
    "small, strong JPEG.jpg": _both(partial(edits.scale, share=0.6),
                                    _both(partial(edits.gamma, power=1.6),
                                          partial(edits.jpeg, quality=25))),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleReport:
    """How much was made, and the manifest's path."""

    photos: int
    images: int
    manifest: str


def make_sample(folder: str | os.PathLike[str]) -> SampleReport:
    """Make the sample gallery: `<photo>/<view>`, and a manifest (path,label,view).

    The same files each time (for one version of Pillow). A folder that holds an earlier sample is
    made anew. Raises UsageError for a folder with anything else in it, OperationFailedError where
    it cannot be written.
    """
    target = os.fspath(folder)
    if os.path.exists(target) and not os.path.isdir(target):
        raise UsageError(f"sample: expected a folder; there is a file at {target}.")
    held = set(os.listdir(target)) if os.path.isdir(target) else set()
    own = {MANIFEST, *(_label(photo) for photo in PHOTOS)}
    if held - own:
        raise UsageError(
            f"sample: expected a new or empty folder; {target} holds {sorted(held - own)[0]}."
        )
    try:
        return _make(target)
    except OSError as error:
        raise OperationFailedError(
            f"The sample cannot be written to {target} ({error.strerror or error})."
        ) from None


def _make(folder: str) -> SampleReport:
    rows = []
    for photo in PHOTOS:
        label = _label(photo)
        os.makedirs(os.path.join(folder, label), exist_ok=True)
        pixels = _photo(photo)
        for view, edit in VIEWS.items():
            _save(os.path.join(folder, label, view), edit(pixels))
            rows.append((f"{label}/{view}", label, os.path.splitext(view)[0]))
    manifest = os.path.join(folder, MANIFEST)
    with open(manifest, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "view"))
        writer.writerows(rows)
    return SampleReport(len(PHOTOS), len(rows), manifest)


def _label(photo: str) -> str:
    return os.path.splitext(photo)[0]


def _photo(name: str) -> Pixels:
    """A photograph of scikit-image, at most 480 pixels long; the package itself is not imported."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise OperationFailedError(
            "The sample's photographs come with scikit-image, which is not installed: "
            "`pip install scikit-image`."
        )
    file = os.path.join(os.path.dirname(spec.origin), "data", name)
    pixels = decode(file, DecodeOptions()).pixels
    longest = max(pixels.shape[:2])
    return edits.scale(pixels, LONGEST / longest) if longest > LONGEST else pixels


def _save(path: str, pixels: Pixels) -> None:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if path.endswith(".png"):
        image.save(path)
    else:
        image.save(path, quality=88)
