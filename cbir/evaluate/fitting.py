"""Embedders that learn from pictures: fitted on the gallery before they embed anything."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np

from cbir.catalog import FeatureCache
from cbir.config import EmbedderSpec, FeatureExtractor
from cbir.embed import sample_rows
from cbir.evaluate.embedding import reference
from cbir.images import LoadOptions, load
from cbir.types import Pixels

SAMPLE = 400
"""Pictures that an embedder is fitted on, at most."""


@runtime_checkable
class Fittable(Protocol):
    """What an embedder that learns from pictures has beyond a `FeatureExtractor`.

    Until it is fitted, its `fingerprint`, `feature_dims` and `features` raise EmbedderError.
    """

    @property
    def recipe(self) -> str:
        """Name, version and settings as one text: with equal recipes and pictures, the same is
        learnt."""
        ...

    @property
    def fitted(self) -> bool:
        """Whether it has learnt."""
        ...

    def fit(self, pixels: Pixels, seed: int = 0) -> Self:
        """Learn from uint8 (n, s, s, 3), n from 0 on; a fitted copy."""
        ...

    def dump(self) -> bytes:
        """What was learnt."""
        ...

    def restore(self, data: bytes) -> Self:
        """A fitted copy from what `dump` gave; ValueError where that is something else."""
        ...


def fitted(
    embedder: FeatureExtractor,
    paths: Sequence[str],
    cache: FeatureCache | None = None,
    seed: int = 0,
) -> FeatureExtractor:
    """The embedder itself where it has nothing to learn, else a copy that is fitted on pictures.

    `paths` are the gallery's files, never those of queries that are not in it. Fitted on a sample
    of at most 400, which depends on the seed and on the pictures' contents, not on their names or
    order; files that cannot be used are passed over. The cache keeps what was learnt, so that a
    second run has the same embedder at once.
    """
    if not isinstance(embedder, Fittable) or embedder.fitted:
        return embedder
    files = _by_content(paths, embedder.spec)
    keys = sorted(files)
    chosen = [keys[i] for i in sample_rows(keys, SAMPLE, seed)]
    name = f"{embedder.recipe} {seed} ".encode() + b"".join(chosen)
    key = hashlib.blake2b(name, digest_size=16).hexdigest()
    known = None if cache is None else cache.get_fit(key)
    if known is not None:
        with contextlib.suppress(ValueError):  # damaged: learn it again
            return embedder.restore(known)
    made = embedder.fit(_pixels([files[content] for content in chosen], embedder.spec), seed)
    if cache is not None:
        cache.put_fit(key, made.dump())
    return made


def _by_content(paths: Sequence[str], spec: EmbedderSpec) -> dict[bytes, str]:
    """Content hash → a file that has it; files that cannot be read are left out."""
    options = LoadOptions(spec, known=lambda _: True)  # known: hashed, not decoded
    return {
        image.content: image.ref.file
        for batch in load(map(reference, paths), options)
        for image in batch.images
    }


def _pixels(paths: Sequence[str], spec: EmbedderSpec) -> Pixels:
    """Uint8 (n, s, s, 3) of those that can be decoded."""
    found = [
        image.pixels
        for batch in load(map(reference, paths), LoadOptions(spec))
        for image in batch.images
        if image.pixels is not None
    ]
    side = spec.input_size
    return np.array(found, np.uint8).reshape(len(found), side, side, 3)
