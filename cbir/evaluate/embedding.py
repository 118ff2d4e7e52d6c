"""Features of a protocol's pictures, made once: cached by embedder and content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cbir.catalog import FeatureCache
from cbir.catalog.halves import from_blobs, to_blob
from cbir.config import FeatureExtractor
from cbir.images import LoadOptions, load, prepare
from cbir.types import Failure, ImageRef, LoadedImage, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Features float32 (n, f) of n pictures, and which could not be used.

    The row of a picture that failed is zero; `failed` are their positions with the reasons.
    `embedded` counts what was not in the cache.
    """

    features: Vectors
    contents: tuple[bytes, ...]
    failed: tuple[tuple[int, Failure], ...]
    embedded: int


def embed_files(
    paths: Sequence[str],
    embedder: FeatureExtractor,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Embedded:
    """Features of picture files, in their order, rounded as the cache keeps them.

    A file that cannot be used is in `failed`; one that is asked for twice is read once.
    """
    known: dict[bytes, Vectors] = {}
    contents: list[bytes] = []
    failed: list[tuple[int, Failure]] = []
    made = 0
    there = frozenset() if cache is None else cache.contents(embedder.fingerprint)
    # What is there was decoded once: its file is read for its hash, and not decoded again.
    options = LoadOptions(spec=embedder.spec, known=there.__contains__)
    refs = [reference(path) for path in paths]
    places: dict[ImageRef, list[int]] = {}  # a file may be asked for more than once
    for i, ref in enumerate(refs):
        places.setdefault(ref, []).append(i)
    kept: dict[int, bytes] = {}
    for batch in load(places, options):
        asked = [image.content for image in batch.images]
        if cache is not None:
            known.update(cache.get(embedder.fingerprint, asked, embedder.feature_dims))
        fresh = {
            i.content: i for i in batch.images if i.content not in known and i.pixels is not None
        }
        made += len(fresh)
        new = _features(list(fresh.values()), embedder)
        if cache is not None and new:
            cache.put(embedder.fingerprint, new)
        known.update(new)
        kept.update({i: image.content for image in batch.images for i in places[image.ref]})
        failed += [(i, failure) for ref, failure in batch.failures for i in places[ref]]
        advance(sum(len(places[ref]) for ref in (*(i.ref for i in batch.images),
                                                 *(ref for ref, _ in batch.failures))))  # fmt: skip
    features = np.zeros((len(paths), embedder.feature_dims), np.float32)
    for i in range(len(paths)):
        contents.append(kept.get(i, b""))
        if i in kept:
            features[i] = known[kept[i]]
    return Embedded(features, tuple(contents), tuple(failed), made)


def embed_crops(crops: Sequence[tuple[str, str]], embedder: FeatureExtractor) -> Vectors:
    """Features of parts of pictures, (path, "x,y,w,h") each: float32 (n, f); never cached.

    Raises ImageError, UsageError as `cbir.images.prepare` does.
    """
    if not crops:
        return np.zeros((0, embedder.feature_dims), np.float32)
    loaded = [prepare(path, embedder.spec, crop) for path, crop in crops]
    return np.concatenate([embedder.features(_stack([image])) for image in loaded])


def as_stored(features: Vectors) -> Vectors:
    """Features (n, f) rounded as the catalog and the cache keep them, so that fresh and kept ones
    are the same."""
    blobs = [to_blob(row) for row in features]
    return from_blobs(blobs, features.shape[1]) if blobs else features


def _features(images: Sequence[LoadedImage], embedder: FeatureExtractor) -> dict[bytes, Vectors]:
    if not images:
        return {}
    rows = as_stored(embedder.features(_stack(images)))
    return {image.content: row for image, row in zip(images, rows, strict=True)}


def _stack(images: Sequence[LoadedImage]) -> np.ndarray:
    return np.stack([image.pixels for image in images if image.pixels is not None])


def reference(path: str) -> ImageRef:
    """A file as a reference of its own: `load` reads what is there now."""
    return ImageRef("/" if path.startswith("/") else "", path.lstrip("/"), 0, 0)
