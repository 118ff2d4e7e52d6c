"""Asking an index: the one place that joins embedding, search and the catalog."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cbir.catalog import Catalog, EmbedderRow, sqlite_errors
from cbir.config import FeatureExtractor, QuerySpec
from cbir.errors import IndexDamagedError, UsageError
from cbir.query.algebra import combine
from cbir.query.examples import Example, own_embedder
from cbir.query.filters import Table, allowed_ids
from cbir.query.match import NEAREST, Calibration
from cbir.query.matching import kept, matched, nearest_ids
from cbir.query.metadata import find_file
from cbir.query.state import State, catch_up, features_of, load_state
from cbir.types import Hit, Ids, ImageInput, Pixels, Ranking, Vectors


@dataclass(frozen=True, slots=True)
class Asked:
    """What one call asks of the gallery, for all its queries."""

    spec: QuerySpec
    allowed: Ids | None
    extra: Table | None


class Index:
    """An index, open for queries. Use as a context manager, or call `close`.

    Changes that a writer commits meanwhile are seen by the next query. Threads may share it: they
    take turns.
    """

    def __init__(self, path: str, embedder: FeatureExtractor | None = None) -> None:
        """Open the index folder `path`; `embedder` only where the caller has it already.

        Raises IndexMissingError, IndexIncompatibleError, IndexDamagedError.
        """
        self.path = os.path.abspath(path)
        self.catalog = Catalog(self.path)
        self.notes: list[str] = []
        self._embedder = embedder
        self._state: State | None = None
        self._one = threading.RLock()  # one connection: several threads take turns

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the index folder `path` for queries."""
        return cls(os.fspath(path))

    def close(self) -> None:
        """Release the catalog."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Images in the gallery."""
        return self.catalog.count()

    def query(
        self, image: ImageInput, k: int = 10, spec: QuerySpec | None = None, crop: str | None = None
    ) -> Ranking:
        """The nearest images of one query image.

        image: a path, bytes, PIL image, uint8 array (h, w, 3), or an image id (int).
        spec: everything that can be asked (its own k then counts); crop: "X,Y,W,H".
        Raises ImageError (the picture cannot be read), UsageError (no such id, a bad term).
        """
        return self.query_many([image], spec or QuerySpec(k=k), crop=crop)[0]

    def query_many(
        self,
        images: Sequence[ImageInput],
        spec: QuerySpec | None = None,
        *,
        crop: str | None = None,
        extra: Table | None = None,
    ) -> list[Ranking]:
        """One ranking for each query image, all from the same state of the index.

        `extra` is metadata for this call only, by image id.
        """
        start = time.perf_counter()
        examples = self.examples(images, crop)
        each = (time.perf_counter() - start) / max(1, len(images))
        with self._one, self.catalog.reading():
            start = time.perf_counter()
            state = self._refresh()
            asked = self._asked(spec, extra)
            each += (time.perf_counter() - start) / max(1, len(images))
            return [self._rank(state, [example], asked, None, each) for example in examples]

    def query_combined(
        self,
        images: Sequence[ImageInput],
        spec: QuerySpec | None = None,
        *,
        weights: Sequence[float] | None = None,
        crop: str | None = None,
        extra: Table | None = None,
    ) -> Ranking:
        """One ranking for all query images together: their weighted mean direction."""
        start = time.perf_counter()
        examples = self.examples(images, crop)
        with self._one, self.catalog.reading():
            state = self._refresh()
            asked = self._asked(spec, extra)
            return self._rank(state, examples, asked, weights, time.perf_counter() - start)

    def search(
        self, features: Vectors, k: int = 10, excluded: Ids | None = None
    ) -> tuple[Vectors, Ids]:
        """The k nearest of raw features: float32 (q, f) → scores float32 and ids int64 (q, k').

        As `VectorStore.search` has it; `excluded` are ids that may not be found.
        """
        with self._one, self.catalog.reading():
            state = self._refresh()
            return state.live.search(state.projection.apply(features), k, None, excluded)

    def stored_features(self, ids: Sequence[int]) -> Vectors:
        """The stored features of these images, float32 (n, f), in their order.

        Raises UsageError where an id is not in the gallery, or has no feature.
        """
        with self._one, self.catalog.reading():
            row = self.catalog.embedder()
            found = {} if row is None else features_of(self.catalog, row, ids)
        missing = next((image for image in ids if image not in found), None)
        if row is None or missing is not None:
            raise UsageError(f"No feature of image {missing} is stored in {self.path}.")
        return np.stack([found[i] for i in ids]) if ids else np.empty((0, row.feature_dims), "f4")

    def calibration(self) -> Calibration | None:
        """How scores become matches; None where nothing is calibrated."""
        with self._one, self.catalog.reading():
            return self._refresh().calibration

    # -- query images ----------------------------------------------------------------------------

    def examples(self, images: Sequence[ImageInput], crop: str | None = None) -> list[Example]:
        """Features of the query images; those whose content is stored are not embedded again."""
        with self._one, sqlite_errors(self.catalog.path):
            return self._examples(images, crop)

    def _examples(self, images: Sequence[ImageInput], crop: str | None) -> list[Example]:
        row = self.catalog.embedder()
        if row is None:
            raise UsageError(
                f"The index {self.path} holds no images yet, so there is nothing to search. Add "
                "some with `cbir index FOLDER`."
            )
        known = [self._known(image, row, crop) for image in images]
        missing = [i for i, example in enumerate(known) if example is None]
        for i, example in zip(missing, self._embed([images[i] for i in missing], row, crop),
                              strict=True):  # fmt: skip
            known[i] = example
        return [example for example in known if example is not None]

    def _known(self, image: ImageInput, row: EmbedderRow, crop: str | None) -> Example | None:
        """The example where its feature is stored: an id, or a file (or bytes) indexed before."""
        from cbir.images import content_hash

        if isinstance(image, int | np.integer):
            return self._by_id(int(image), row, crop)
        if crop is not None or not isinstance(image, str | os.PathLike | bytes):
            return None
        content = content_hash(image)
        feature = self.catalog.content_feature(row, content)
        if feature is None:
            return None
        return self._named(image, feature[None], content)

    def _by_id(self, image: int, row: EmbedderRow, crop: str | None) -> Example:
        known = 0 < image < 2**63  # SQLite's integers end there
        found = next(self.catalog.rows([image]), None) if known else None
        if found is None:
            raise UsageError(
                f"No image has the id {image} in {self.path}. `cbir export --csv FILE` lists all "
                "ids."
            )
        if crop is not None:
            whole = self._embed([found.file], row, crop)[0]
            return Example(f"id:{image}", whole.feature, b"", image, found.file)
        feature = self.catalog.content_feature(row, found.content)
        if feature is None:
            raise IndexDamagedError(
                f"The feature of image {image} is missing in {self.path}. Run `cbir check "
                "--repair`."
            )
        return Example(f"id:{image}", feature[None], found.content, image, found.file)

    def _embed(
        self, images: Sequence[ImageInput], row: EmbedderRow, crop: str | None
    ) -> list[Example]:
        from cbir.images import prepare

        if not images:
            return []
        embedder = self.embedder(row)
        loaded = [prepare(image, embedder.spec, crop) for image in images]
        pixels: Pixels = np.stack([one.pixels for one in loaded if one.pixels is not None])
        features = embedder.features(pixels)
        # A part of a picture is not that picture: its content is nobody's.
        contents = [b"" if crop is not None else one.content for one in loaded]
        return [
            self._named(image, features[i : i + 1], contents[i]) for i, image in enumerate(images)
        ]

    def _named(self, image: ImageInput, feature: Vectors, content: bytes) -> Example:
        if isinstance(image, str | os.PathLike):
            file = os.fspath(image)
            own = find_file(self.catalog, file)
            return Example(file, feature, content, own, os.path.abspath(file))
        name = "(bytes)" if isinstance(image, bytes) else "(picture)"
        return Example(name, feature, content)

    def embedder(self, row: EmbedderRow | None = None) -> FeatureExtractor:
        """The index's embedder, loaded on first use.

        Raises IndexIncompatibleError where it is not the one that made the features.
        """
        if self._embedder is None:
            row = row or self.catalog.embedder()
            if row is None:
                raise UsageError(f"The index {self.path} has no embedder yet: it holds no images.")
            self._embedder = own_embedder(self.path, row)
        return self._embedder

    # -- search ----------------------------------------------------------------------------------

    def _refresh(self) -> State:
        """The state as the catalog has it in this read transaction."""
        if self._state is None or self._state.generation.id != self.catalog.live():
            self._state = load_state(self.catalog, self.notes)
        else:
            catch_up(self.catalog, self._state)
        if self._state is None:
            raise UsageError(f"The index {self.path} holds no images yet.")
        if self._state.uncalibrated and self._state.uncalibrated not in self.notes:
            self.notes.append(self._state.uncalibrated)
        return self._state

    def _asked(self, spec: QuerySpec | None, extra: Table | None) -> Asked:
        spec = spec or QuerySpec()
        return Asked(spec, allowed_ids(self.catalog, spec.where, extra), extra)

    def _rank(
        self,
        state: State,
        examples: Sequence[Example],
        asked: Asked,
        weights: Sequence[float] | None,
        before: float,
    ) -> Ranking:
        """The ranking of one query, made of one example or of several. `before`: seconds spent."""
        start = time.perf_counter()
        vectors = state.projection.apply(np.concatenate([e.feature for e in examples]))
        alone = weights is None and len(examples) == 1
        vector = vectors if alone else combine(vectors, weights)
        own = {e.own for e in examples if e.own is not None}
        excluded = None if asked.spec.keep_self or not own else np.array(sorted(own), np.int64)
        k = asked.spec.k
        deep = max(k, NEAREST) if alone and state.calibration is not None else k
        scores, ids = state.live.search(vector, deep, asked.allowed, excluded)
        hits = self._hits(scores[0, :k], ids[0, :k], {e.content for e in examples}, asked)
        if alone and hits and state.calibration is not None:
            whole = asked.allowed is None and not asked.spec.keep_self
            near = ids[0, :NEAREST] if whole else nearest_ids(state, examples[0], vector)
            hits = matched(self.catalog, state, examples[0], (ids[0], near), hits)
        nearest = hits[0] if hits and asked.spec.min_match is not None else None
        return Ranking(
            query=" + ".join(e.name for e in examples),
            hits=kept(hits, state, asked.spec, alone),
            index=self.path,
            took_ms=(before + time.perf_counter() - start) * 1000,
            files=tuple(e.file for e in examples if e.file is not None),
            min_match=asked.spec.min_match,
            nearest=nearest,
        )

    def _hits(
        self, scores: Vectors, ids: Ids, contents: set[bytes], asked: Asked
    ) -> tuple[Hit, ...]:
        least = -np.inf if asked.spec.min_score is None else asked.spec.min_score
        found = [(int(i), float(s)) for s, i in zip(scores, ids, strict=True) if i >= 0]
        kept = [(image, max(-1.0, min(1.0, score))) for image, score in found if score >= least]
        rows = {row.id: row for row in self.catalog.rows([image for image, _ in kept])}
        stored = self.catalog.metadata([image for image, _ in kept])
        extra = asked.extra or {}
        return tuple(
            Hit(
                rank=rank,
                id=image,
                path=rows[image].file,
                score=score,
                identical=rows[image].content in contents,
                metadata={**stored.get(image, {}), **extra.get(image, {})},
            )
            for rank, (image, score) in enumerate(kept, start=1)
        )
