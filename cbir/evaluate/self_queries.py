"""Measuring without labels: queries made from the gallery's own pictures by known edits.

A picture that was cropped, darkened, recompressed ... should find the one it was made from. The
share that does, edit by edit, is a failure profile of a gallery and a system: it needs no labels,
and says nothing of whether pictures of the same kind are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cbir.embed import sample_rows
from cbir.errors import ImageError, UsageError
from cbir.evaluate.answers import Pictures
from cbir.evaluate.gallery import Gallery
from cbir.evaluate.ground_truth import Truth
from cbir.evaluate.self_answers import KS, Attempt, SelfAnswers
from cbir.images import DecodeOptions, content_hash, decode, resize
from cbir.images.edits import EDITS, Edit
from cbir.types import Failure, Pixels


@dataclass(frozen=True, slots=True)
class SelfOptions:
    """Which queries are made.

    sample  how many pictures are edited, at most; each in every way
    seed    of the sample, which depends on what is in the gallery, not on its order
    edits   name → edit
    """

    sample: int = 200
    seed: int = 0
    edits: Mapping[str, Edit] = field(default_factory=lambda: EDITS)


def self_queries(
    gallery: Gallery,
    options: SelfOptions | None = None,
    floor: Gallery | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> SelfAnswers:
    """Ask a gallery for the sources of edited pictures.

    A hit is right where its content is the source's, byte for byte: copies count, near copies do
    not. `floor` is the same gallery by another embedder; it is asked by the same edited pictures.
    Files that are gone, changed or broken are in `failures`. Raises UsageError for an empty
    gallery, or where no source can be used.
    """
    options = options or SelfOptions()
    if not len(gallery):
        raise UsageError(f"self-queries: {gallery.name} holds no images.")
    made: list[Attempt] = []
    failures: list[Failure] = []
    for row in sample_rows(gallery.keys, options.sample, options.seed).tolist():
        try:
            pixels = _source(gallery, floor, row)
        except ImageError as error:
            failures.append(Failure(gallery.files[row], error.reason, error.passing))
        else:
            made += _attempts(gallery, floor, row, pixels, options.edits)
        advance(1)
    if not made:
        raise UsageError(f"self-queries: no picture of {gallery.name} can be read any more.")
    named = {i for a in made for i in (a.source, a.first) if i is not None}
    about = {
        "embedder": gallery.embedder.spec.to_dict(), "fingerprint": gallery.embedder.fingerprint,
        "sample": options.sample, "seed": options.seed, "failures": len(failures),
        "decoded": _side(gallery, floor),
        "floor": None if floor is None else floor.embedder.spec.backbone,
    }  # fmt: skip
    return SelfAnswers(
        gallery.name, gallery.embedder.spec.backbone, len(gallery), tuple(options.edits),
        tuple(made), _pictures(gallery, named), about, tuple(failures),
    )  # fmt: skip


def _source(gallery: Gallery, floor: Gallery | None, row: int) -> Pixels:
    """The picture to edit, decoded no smaller than an embedder needs it.

    Raises ImageError where it cannot be read, or is not the picture any more that the gallery has.
    """
    file = gallery.files[row]
    if content_hash(file) != gallery.keys[row]:
        raise ImageError("has changed since it was indexed", passing=True)
    return decode(file, DecodeOptions(_side(gallery, floor))).pixels


def _side(gallery: Gallery, floor: Gallery | None) -> int:
    """The side that no embedder needs more of: what a picture is decoded to, at least."""
    return max(g.embedder.spec.input_size for g in (gallery, floor) if g is not None)


def _attempts(
    gallery: Gallery, floor: Gallery | None, row: int, pixels: Pixels, edits: Mapping[str, Edit]
) -> list[Attempt]:
    """All edits of one picture, asked together."""
    edited = {name: edit(pixels) for name, edit in edits.items()}
    found, scores = _asked(gallery, list(edited.values()))
    key = gallery.keys[row]
    floors: list[int | None] = [None] * len(edited)
    if floor is not None:
        below, _ = _asked(floor, list(edited.values()))
        floors = [_rank([floor.keys[i] for i in rows if i >= 0], key) for rows in below]
    made = []
    for name, rows, near, under in zip(edited, found, scores, floors, strict=True):
        rank = _rank([gallery.keys[i] for i in rows if i >= 0], key)
        there = bool(rows) and rows[0] >= 0
        made.append(Attempt(
            row, name, rank, round(near[rank - 1], 6) if rank else float("nan"),
            rows[0] if there else None, round(near[0], 6) if there else float("nan"), under,
        ))  # fmt: skip
    return made


def _asked(gallery: Gallery, pictures: list[Pixels]) -> tuple[list[list[int]], list[list[float]]]:
    """Rows and scores of the first ten hits of each picture."""
    spec = gallery.embedder.spec
    ready = np.stack([resize(picture, spec.input_size, spec.resize) for picture in pictures])
    rows, scores = gallery.search(gallery.embedder.features(ready), max(KS))
    return rows.tolist(), scores.tolist()


def _rank(keys: list[bytes], key: bytes) -> int:
    """The rank of a content, from 1; 0 where it did not come."""
    return keys.index(key) + 1 if key in keys else 0


def _pictures(gallery: Gallery, rows: set[int]) -> Pictures:
    """Paths of the pictures that the answers name."""
    labels = ("",) * len(gallery)
    truth = Truth(gallery.name, gallery.files, labels, np.empty(0, np.int64), ())
    return Pictures.of(truth, rows)
