"""Query images, and the embedder that makes features of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cbir.catalog import Catalog, EmbedderRow
from cbir.config import EmbedderSpec, FeatureExtractor
from cbir.errors import ImageError, IndexDamagedError, IndexIncompatibleError, UsageError
from cbir.machine import cores
from cbir.query.metadata import find_file
from cbir.types import ImageInput, LoadedImage, Pixels, Vectors

SAVED = "embedders"
"""Folder of an index that holds its embedders, by fingerprint, where they are not stock ones."""
SAVED_ALONE = "embedder"
"""Folder of the only one, in indexes that were made before they could have two."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query image: its feature, float32 (1, f), and what is known of where it came from.

    `own` is the id under which the same file (or id) is in the gallery, None where it is not.
    `embedder` is the fingerprint of what made the feature: it must not be compared with others'.
    """

    name: str
    feature: Vectors
    content: bytes
    own: int | None = None
    file: str | None = None
    embedder: str = ""


def saved_folder(index: str, fingerprint: str) -> str | None:
    """Where an index holds the embedder of this fingerprint; None where it does not."""
    for folder in (os.path.join(index, SAVED, fingerprint), os.path.join(index, SAVED_ALONE)):
        if os.path.isdir(folder) and saved_as(folder) == fingerprint:
            return folder
    return None


def own_embedder(index: str, row: EmbedderRow) -> FeatureExtractor:
    """The embedder that made the features of an index: the saved one, else the stock one.

    Raises IndexIncompatibleError where it is not the one that the fingerprint names.
    """
    from cbir.embed import Embedder, compiled_embedder

    saved = saved_folder(index, row.fingerprint)
    spec = EmbedderSpec.from_dict(json.loads(row.spec))
    compiled = compiled_embedder(row.fingerprint, saved)
    if compiled is not None:
        return compiled
    if saved is not None:
        embedder = Embedder.load(saved)
    elif spec.carried:
        embedder = Embedder.load(_damaged_folder(index, row))
    else:
        embedder = Embedder.from_spec(spec)
    if embedder.fingerprint != row.fingerprint:
        raise IndexIncompatibleError(
            f"{index} was made by the embedder {row.fingerprint} ({embedder.spec.backbone}); the "
            f"one of that name here is {embedder.fingerprint}. Its weights differ: install the "
            "former version, or index again with `cbir index FOLDER -i OTHER`."
        )
    return embedder


def _damaged_folder(index: str, row: EmbedderRow) -> str:
    """The folder that should hold an embedder: what is wrong with it is said when it is loaded."""
    folder = os.path.join(index, SAVED, row.fingerprint)
    alone = os.path.join(index, SAVED_ALONE)
    if os.path.isdir(folder) or os.path.isdir(alone):
        return folder if os.path.isdir(folder) else alone
    raise IndexDamagedError(
        f"{index} was made by an embedder that only its own folder holds; expected it at {folder}; "
        "there is none. Restore it from a backup, or adopt another embedder: `cbir adopt NAME "
        "--force`."
    )


def saved_as(folder: str) -> str:
    """The fingerprint that an embedder's folder names, "" where it names none."""
    try:
        with open(os.path.join(folder, "embedder.json"), encoding="utf-8") as file:
            return str(json.load(file)["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class Embedders:
    """The embedders of an open index: loaded on first use, each for its own features only.

    `given` are those that the caller has already. Of the others one is kept at a time, since each
    holds its weights in memory.
    """

    def __init__(self, index: str, given: Sequence[FeatureExtractor]) -> None:
        self._index = index
        self._given = {embedder.fingerprint: embedder for embedder in given}
        self._loaded: FeatureExtractor | None = None

    @property
    def notes(self) -> list[str]:
        """What did not go as chosen, such as a network that could not be compiled."""
        return list(getattr(self._loaded, "notes", ()))

    def get(self, row: EmbedderRow) -> FeatureExtractor:
        """The embedder of a row; raises as `own_embedder` does."""
        if row.fingerprint in self._given:
            return self._given[row.fingerprint]
        if self._loaded is None or self._loaded.fingerprint != row.fingerprint:
            self._loaded = None
            self._loaded = own_embedder(self._index, row)
        return self._loaded


class ExampleMaker:
    """Makes examples of query images for one embedder's features.

    Contents that are stored are not embedded again.
    """

    def __init__(
        self, catalog: Catalog, embedders: Embedders, row: EmbedderRow, crop: str | None
    ) -> None:
        self._catalog = catalog
        self._embedders = embedders
        self._row = row
        self._crop = crop

    def make(
        self, images: Sequence[ImageInput], lenient: bool = False
    ) -> list[Example | ImageError]:
        """One example for each image; raises ImageError, UsageError (no such id).

        `lenient`: an image that cannot be read has its ImageError in its place.
        """
        made: list[Example | ImageError | None] = []
        for image in images:
            try:
                made.append(self._known(image))
            except ImageError as error:
                if not lenient:
                    raise
                made.append(error)
        missing = [i for i, example in enumerate(made) if example is None]
        new = self._embed([images[i] for i in missing], lenient)
        for i, example in zip(missing, new, strict=True):
            made[i] = example
        return [one for one in made if one is not None]

    def _known(self, image: ImageInput) -> Example | None:
        """The example where its feature is stored: an id, or a file (or bytes) indexed before."""
        from cbir.images import content_hash

        if isinstance(image, int | np.integer):
            return self._by_id(int(image))
        if self._crop is not None or not isinstance(image, str | os.PathLike | bytes):
            return None
        content = content_hash(image)
        feature = self._catalog.content_feature(self._row, content)
        if feature is None:
            return None
        return self._named(image, feature[None], content)

    def _by_id(self, image: int) -> Example:
        known = 0 < image < 2**63  # SQLite's integers end there
        found = next(self._catalog.rows([image]), None) if known else None
        if found is None:
            raise UsageError(
                f"No image has the id {image} in {self._catalog.index}. `cbir export --csv FILE` "
                "lists all ids."
            )
        made_by = self._row.fingerprint
        if self._crop is not None:
            (whole,) = self._embed([found.file])
            assert isinstance(whole, Example)
            return Example(f"id:{image}", whole.feature, b"", image, found.file, made_by)
        feature = self._catalog.content_feature(self._row, found.content)
        if feature is None:
            raise IndexDamagedError(
                f"The feature of image {image} is missing in {self._catalog.index}. Run `cbir "
                "check --repair`."
            )
        return Example(f"id:{image}", feature[None], found.content, image, found.file, made_by)

    def _embed(
        self, images: Sequence[ImageInput], lenient: bool = False
    ) -> list[Example | ImageError]:
        if not images:
            return []
        embedder = self._embedders.get(self._row)
        loaded = _prepared(images, embedder.spec, self._crop)
        errors = [one for one in loaded if isinstance(one, ImageError)]
        if errors and not lenient:
            raise errors[0]
        good = [one.pixels for one in loaded if isinstance(one, LoadedImage)]
        pixels: list[Pixels] = [one for one in good if one is not None]
        features = iter(embedder.features(np.stack(pixels)) if pixels else ())
        made: list[Example | ImageError] = []
        for image, one in zip(images, loaded, strict=True):
            if isinstance(one, ImageError):
                made.append(one)
                continue
            # A part of a picture is not that picture: its content is nobody's.
            content = b"" if self._crop is not None else one.content
            made.append(self._named(image, next(features)[None], content))
        return made

    def _named(self, image: ImageInput, feature: Vectors, content: bytes) -> Example:
        made_by = self._row.fingerprint
        if isinstance(image, str | os.PathLike):
            file = os.fspath(image)
            own = find_file(self._catalog, file)
            return Example(file, feature, content, own, os.path.abspath(file), made_by)
        name = "(bytes)" if isinstance(image, bytes) else "(picture)"
        return Example(name, feature, content, embedder=made_by)


def _prepared(
    images: Sequence[ImageInput], spec: EmbedderSpec, crop: str | None
) -> list[LoadedImage | ImageError]:
    """Query pictures made ready, several in threads; what cannot be read is its error."""
    from cbir.images import prepare

    def one(image: ImageInput) -> LoadedImage | ImageError:
        try:
            return prepare(image, spec, crop)
        except ImageError as error:
            return error

    if len(images) == 1:
        return [one(images[0])]
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(one, images))
