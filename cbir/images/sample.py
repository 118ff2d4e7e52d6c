"""The sample gallery: photographs from the scikit-image wheel, each with nine views.

A query with one view has right answers that one can see: the other views. Geometry, light, colour,
sharpness and file format change from view to view, so that a colour histogram does not find them
all (`tests/images/test_sample.py` measures both). The strengths of the views were chosen with those
figures in sight: the sample shows that things work, and is no benchmark.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from PIL import Image

from cbir.errors import CbirError, OperationFailedError, UsageError
from cbir.images import edits
from cbir.images.decode import DecodeOptions, decode
from cbir.images.scan import JUNK
from cbir.types import Pixels

MANIFEST = "manifest.csv"
COLUMNS = ["path", "label", "view"]
PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png",
    "coffee.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
LONGEST = 480


def _chain(*steps: edits.Edit) -> edits.Edit:
    """One edit after the other."""

    def made(pixels: Pixels) -> Pixels:
        for step in steps:
            pixels = step(pixels)
        return pixels

    return made


VIEWS: Mapping[str, edits.Edit] = {
    "original.jpg": lambda pixels: pixels,
    "closer.jpg": partial(edits.crop, share=0.75, x=0.4, y=0.4),
    "flipped.png": edits.flip,
    "tilted.jpg": partial(edits.rotate, degrees=7, inside=True),
    "blurred.webp": partial(edits.blur, radius=1.2),
    "small-jpeg.jpg": _chain(partial(edits.scale, share=0.5), partial(edits.jpeg, quality=25)),
    "warm.webp": partial(edits.cast, red=1.15, green=1.0, blue=0.75),
    "dark-hue.jpg": _chain(partial(edits.gamma, power=1.5), partial(edits.hue, degrees=20)),
    "grey.png": _chain(partial(edits.saturation, factor=0.0), partial(edits.contrast, factor=0.75)),
}


@dataclass(frozen=True, slots=True)
class SampleReport:
    """How much was made, and the manifest's path."""

    photos: int
    images: int
    manifest: str


def make_sample(folder: str | os.PathLike[str]) -> SampleReport:
    """Make the sample gallery: `<photo>/<view>`, and a manifest (path,label,view).

    The same bytes each time, for one version of Pillow. A folder that holds an earlier sample, and
    nothing else, is made anew. Raises UsageError for a folder with anything else in it,
    OperationFailedError where it cannot be written or the photographs are not there.
    """
    target = os.fspath(folder)
    try:
        old = _earlier(target)
        photos = {_stem(photo): _photo(photo) for photo in PHOTOS}
        views = [(label, view) for label in photos for view in VIEWS]
        os.makedirs(target, exist_ok=True)
        # The manifest comes first: it tells a sample that was interrupted from a folder of the
        # user's, and until it is there nothing is removed.
        _write_manifest(target, views)
        for path in old - {f"{label}/{view}" for label, view in views}:
            os.unlink(os.path.join(target, *path.split("/")))
        for label, view in views:
            os.makedirs(os.path.join(target, label), exist_ok=True)
            _save(os.path.join(target, label, view), VIEWS[view](photos[label]))
    except OSError as error:
        raise OperationFailedError(
            f"The sample cannot be written to {target} ({error.strerror or error}). Free some "
            "space, or choose a folder that can be written."
        ) from None
    return SampleReport(len(photos), len(views), os.path.join(target, MANIFEST))


def _earlier(folder: str) -> set[str]:
    """Relative paths of an earlier sample's files; UsageError where there is anything else."""
    if not os.path.lexists(folder):
        return set()
    if not os.path.isdir(folder):
        raise UsageError(f"sample: expected a folder; there is a file at {folder}.")
    found = set(_files(folder))
    strange = sorted(found - {MANIFEST} - _listed(os.path.join(folder, MANIFEST)))
    if strange:
        raise UsageError(
            f"sample: expected a new or empty folder, or one with an earlier sample only; {folder} "
            f"also holds {strange[0]!r}. Choose another folder."
        )
    return found - {MANIFEST}


def _files(folder: str, below: str = "") -> Iterator[str]:
    """All that lies in a folder but folders and what operating systems leave behind.

    Links are not followed, and not taken for what they point to.
    """
    with os.scandir(os.path.join(folder, below)) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.name.lower() in JUNK:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder, f"{below}{entry.name}/")
        else:
            yield below + entry.name


def _listed(manifest: str) -> set[str]:
    """The paths in a sample's manifest; none where it is not one."""
    try:
        with open(manifest, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        return set()
    return {row[0] for row in rows[1:] if row} if rows and rows[0] == COLUMNS else set()


def _write_manifest(folder: str, views: list[tuple[str, str]]) -> None:
    path = os.path.join(folder, MANIFEST)
    with open(path + ".new", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((f"{label}/{view}", label, _stem(view)) for label, view in views)
    os.replace(path + ".new", path)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def photographs(count: int) -> list[Pixels]:
    """Some of the sample's photographs, uint8 (h, w, 3) each, at most 480 pixels long: real
    pictures to try things on. OperationFailedError where scikit-image is not installed."""
    return [_photo(name) for name in PHOTOS[:: max(1, len(PHOTOS) // count)][:count]]


def _photo(name: str) -> Pixels:
    """A photograph of scikit-image, at most 480 pixels long; the package itself is not imported."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise OperationFailedError(
            "The sample's photographs come with scikit-image, which is not installed: "
            "`pip install scikit-image`."
        )
    file = os.path.join(os.path.dirname(spec.origin), "data", name)
    try:
        pixels = decode(file, DecodeOptions()).pixels
    except CbirError as error:
        raise OperationFailedError(
            f"The sample's photograph {file} cannot be read ({error}). Install scikit-image anew."
        ) from None
    longest = max(pixels.shape[:2])
    return edits.scale(pixels, LONGEST / longest) if longest > LONGEST else pixels


def _save(path: str, pixels: Pixels) -> None:
    image = Image.fromarray(pixels)
    if path.endswith(".png"):
        image.save(path)
    else:
        image.save(path, quality=88)
