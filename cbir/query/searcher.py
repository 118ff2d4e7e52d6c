"""Asking an index: the one place that joins embedding, search and the catalog."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, overload

import numpy as np

from cbir.catalog import Catalog, EmbedderRow, Generation, sqlite_errors
from cbir.config import FeatureExtractor, QuerySpec
from cbir.errors import CbirError, ImageError, IndexIncompatibleError, UsageError
from cbir.query.algebra import combine
from cbir.query.examples import Embedders, Example, ExampleMaker
from cbir.query.filters import Table, allowed_ids
from cbir.query.match import NEAREST, Calibration
from cbir.query.matching import kept, matched, nearest_ids
from cbir.query.state import State, catch_up, features_of, load_state
from cbir.types import Failure, Hit, Ids, ImageInput, Ranking, Vectors

TOGETHER = 64
"""Query images that are embedded and searched at once."""


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

    def __init__(
        self, path: str, *embedders: FeatureExtractor, generation: int | None = None
    ) -> None:
        """Open the index folder `path`; `embedders` are those that the caller has already.

        `generation`: that one is searched, whichever is live (to compare it before it is).
        Raises IndexMissingError, IndexIncompatibleError, IndexDamagedError.
        """
        self.path = os.path.abspath(path)
        self.catalog = Catalog(self.path)
        self.notes: list[str] = []
        self._embedders = Embedders(self.path, embedders)
        self._pinned = generation
        self._state: State | None = None
        self._one = threading.RLock()  # one connection: several threads take turns

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the index folder `path` for queries."""
        return cls(os.fspath(path))

    def close(self) -> None:
        """Release the catalog, and the files that are mapped."""
        self._state = None
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

        `extra` is metadata for this call only, by image id. All are embedded, and searched, at
        once: for many, see `query_each`.
        """
        start = time.perf_counter()
        with self._asking(images, crop) as (state, examples):
            asked = self._asked(spec, extra)
            return self._rank_each(state, examples, asked, time.perf_counter() - start)

    def query_each(
        self,
        images: Iterable[ImageInput],
        spec: QuerySpec | None = None,
        *,
        crop: str | None = None,
        extra: Table | None = None,
    ) -> Iterator[Ranking | Failure]:
        """One ranking for each of any number of query images, in their order.

        Pictures are decoded in threads, embedded and searched 64 at a time; memory holds so many
        and no more. One that cannot be read gives a Failure with its name and the reason.
        """
        source = iter(images)
        while block := list(islice(source, TOGETHER)):
            start = time.perf_counter()
            with self._asking(block, crop, lenient=True) as (state, found):
                asked = self._asked(spec, extra)
                good = [one for one in found if isinstance(one, Example)]
                ranked = self._rank_each(state, good, asked, time.perf_counter() - start)
            rankings = iter(ranked)
            for image, one in zip(block, found, strict=True):
                if isinstance(one, Example):
                    yield next(rankings)
                else:
                    name = os.fspath(image) if isinstance(image, str | os.PathLike) else "(picture)"
                    yield Failure(name, one.reason, one.passing)

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
        with self._asking(images, crop) as (state, examples):
            asked = self._asked(spec, extra)
            if weights is None and len(examples) == 1:
                return self._rank_each(state, examples, asked, time.perf_counter() - start)[0]
            return self._rank_combined(state, examples, asked, weights, time.perf_counter() - start)

    @overload
    def _asking(
        self, images: Sequence[ImageInput], crop: str | None
    ) -> AbstractContextManager[tuple[State, list[Example]]]: ...

    @overload
    def _asking(
        self, images: Sequence[ImageInput], crop: str | None, lenient: bool
    ) -> AbstractContextManager[tuple[State, list[Example | ImageError]]]: ...

    @contextmanager
    def _asking(
        self, images: Sequence[ImageInput], crop: str | None, lenient: bool = False
    ) -> Iterator[tuple[State, Any]]:
        """A read transaction with its state, and examples by the embedder of that very state.

        Pictures are embedded before it begins, which takes long; where another embedder was adopted
        meanwhile, they are embedded again. `lenient`: one that cannot be read is its error.
        """
        with self._one:
            while True:
                made = self._examples(images, crop, lenient)
                examples = [one for one in made if isinstance(one, Example)]
                with self.catalog.reading():
                    state = self._refresh()
                    own = None if state.embedder is None else state.embedder.fingerprint
                    if own is None or all(example.embedder == own for example in examples):
                        yield state, made
                        return

    def search(
        self,
        features: Vectors,
        k: int = 10,
        excluded: Ids | None = None,
        embedder: str | None = None,
    ) -> tuple[Vectors, Ids]:
        """The k nearest of raw features: float32 (q, f) → scores float32 and ids int64 (q, k').

        As `VectorStore.search` has it; `excluded` are ids that may not be found. `embedder` is the
        fingerprint of what made the features: IndexIncompatibleError where the index has another by
        now; UsageError for features of another length.
        """
        with self._one:
            # Where nothing has changed and the catalog is not needed, one statement says so.
            if self._state is not None and self._state.live.complete and self._is_current():
                return self._search(self._state, features, k, excluded, embedder)
            with self.catalog.reading():
                return self._search(self._refresh(), features, k, excluded, embedder)

    def _search(
        self,
        state: State,
        features: Vectors,
        k: int,
        excluded: Ids | None,
        embedder: str | None,
    ) -> tuple[Vectors, Ids]:
        self._check_features(state, features, embedder)
        found = state.live.search(state.projection.apply(features), k, None, excluded)
        self._note(state.live.trouble)
        return found

    def stored_features(self, ids: Sequence[int]) -> Vectors:
        """The stored features of these images, float32 (n, f), in their order.

        Raises UsageError where an id is not in the gallery, or has no feature.
        """
        with self._one, self.catalog.reading():
            row = self.embedder_row()
            found = features_of(self.catalog, row, ids)
        missing = next((image for image in ids if image not in found), None)
        if missing is not None:
            raise UsageError(f"No feature of image {missing} is stored in {self.path}.")
        return np.stack([found[i] for i in ids]) if ids else np.empty((0, row.feature_dims), "f4")

    def calibration(self) -> Calibration | None:
        """How scores become matches; None where nothing is calibrated."""
        with self._one, self.catalog.reading():
            return self._refresh().calibration

    # -- query images ----------------------------------------------------------------------------

    def examples(self, images: Sequence[ImageInput], crop: str | None = None) -> list[Example]:
        """Features of the query images; those whose content is stored are not embedded again."""
        made = self._examples(images, crop, lenient=False)
        return [one for one in made if isinstance(one, Example)]

    def _examples(
        self, images: Sequence[ImageInput], crop: str | None, lenient: bool
    ) -> list[Example | ImageError]:
        with self._one, sqlite_errors(self.catalog.path):
            while True:
                row = self.embedder_row()
                try:
                    maker = ExampleMaker(self.catalog, self._embedders, row, crop)
                    return [
                        one
                        for at in range(0, len(images), TOGETHER)
                        for one in maker.make(images[at : at + TOGETHER], lenient)
                    ]
                except CbirError:
                    # Another embedder was adopted just now, and perhaps this one taken away.
                    if self.embedder_row().fingerprint == row.fingerprint:
                        raise

    def embedder_row(self) -> EmbedderRow:
        """What made the features that are searched; UsageError where nothing was embedded yet."""
        if self._pinned is None:
            row = self.catalog.embedder()
        else:
            generation = self.catalog.generation(self._pinned)
            row = None if generation is None else self.catalog.embedder_of(generation)
        if row is None:
            raise UsageError(
                f"The index {self.path} holds no images yet, so there is nothing to search. Add "
                "some with `cbir index FOLDER`."
            )
        return row

    def generation(self) -> Generation:
        """The generation that is searched; UsageError where there is none yet."""
        found = self.catalog.generation(self._pinned)
        if found is None:
            raise UsageError(f"The index {self.path} holds no images yet.")
        return found

    @property
    def embedder_notes(self) -> list[str]:
        """What did not go as chosen with the embedders that queries needed."""
        return self._embedders.notes

    def embedder(self) -> FeatureExtractor:
        """The index's embedder, loaded on first use.

        Raises IndexIncompatibleError where it is not the one that made the features.
        """
        with self._one:
            return self._embedders.get(self.embedder_row())

    # -- search ----------------------------------------------------------------------------------

    def _now(self) -> tuple[int | None, int]:
        """The generation that is to be searched, and the catalog's seq: one statement."""
        with sqlite_errors(self.catalog.path):
            live, seq = self.catalog.now()
        return (live if self._pinned is None else self._pinned), seq

    def _is_current(self) -> bool:
        """Whether the state is what the catalog has now."""
        assert self._state is not None
        return (self._state.generation.id, self._state.live.seq) == self._now()

    def _refresh(self) -> State:
        """The state as the catalog has it in this read transaction."""
        wanted, seq = self._now()
        if self._state is None or self._state.generation.id != wanted:
            self._state = load_state(self.catalog, self.notes, self._pinned)
        elif self._state.live.seq != seq:
            catch_up(self.catalog, self._state)
        if self._state is None:
            raise UsageError(f"The index {self.path} holds no images yet.")
        self._note(self._state.uncalibrated)
        return self._state

    def _note(self, trouble: str) -> None:
        if trouble and trouble not in self.notes:
            self.notes.append(trouble)

    def _check_features(self, state: State, features: Vectors, embedder: str | None) -> None:
        """Features of two embedders have nothing to do with each other, equal lengths or not."""
        own = state.embedder
        if own is not None and embedder is not None and embedder != own.fingerprint:
            raise IndexIncompatibleError(
                f"features: expected those of the embedder {own.fingerprint}, which {self.path} "
                f"has now; received those of {embedder}. Embed the pictures again."
            )
        if own is not None and features.shape[1] != own.feature_dims:
            raise UsageError(
                f"features: expected (q, {own.feature_dims}); received {features.shape}."
            )

    def _asked(self, spec: QuerySpec | None, extra: Table | None) -> Asked:
        spec = spec or QuerySpec()
        return Asked(spec, allowed_ids(self.catalog, spec.where, extra), extra)

    def _rank_each(
        self, state: State, examples: Sequence[Example], asked: Asked, before: float
    ) -> list[Ranking]:
        """A ranking of each example; all are searched at once. `before`: seconds spent on all."""
        if not examples:
            return []
        start = time.perf_counter()
        vectors = state.projection.apply(np.concatenate([e.feature for e in examples]))
        depth = asked.spec.k
        if state.calibration is not None:
            depth = max(depth, NEAREST)
        found = self._search_each(state, vectors, examples, asked, depth)
        each = (before + time.perf_counter() - start) / len(examples)
        made = []
        for example, vector, (scores, ids) in zip(examples, vectors, found, strict=True):
            start = time.perf_counter()
            hits = self._hits(scores[: asked.spec.k], ids[: asked.spec.k], {example.content}, asked)
            if hits and state.calibration is not None:
                whole = asked.allowed is None and not asked.spec.keep_self
                near = ids[:NEAREST] if whole else nearest_ids(state, example, vector[None])
                hits = matched(self.catalog, state, example, (ids, near), hits)
            seconds = each + time.perf_counter() - start
            made.append(self._ranking(state, [example], hits, asked.spec, seconds))
        return made

    def _search_each(
        self,
        state: State,
        vectors: Vectors,
        examples: Sequence[Example],
        asked: Asked,
        depth: int,
    ) -> list[tuple[Vectors, Ids]]:
        """Scores (m,) and ids (m,) of each example, itself left out, m ≤ depth."""
        own = [None if asked.spec.keep_self else example.own for example in examples]
        if len(examples) == 1:
            excluded = None if own[0] is None else np.array(own, np.int64)
            scores, ids = state.live.search(vectors, depth, asked.allowed, excluded)
            self._note(state.live.trouble)
            return [(scores[0], ids[0])]
        more = int(any(one is not None for one in own))  # each may find itself
        scores, ids = state.live.search(vectors, depth + more, asked.allowed)
        self._note(state.live.trouble)
        found = []
        for image, row, row_ids in zip(own, scores, ids, strict=True):
            others = slice(None) if image is None else row_ids != image
            found.append((row[others][:depth], row_ids[others][:depth]))
        return found

    def _rank_combined(
        self,
        state: State,
        examples: Sequence[Example],
        asked: Asked,
        weights: Sequence[float] | None,
        before: float,
    ) -> Ranking:
        """The ranking of one query that is made of several examples. `before`: seconds spent."""
        start = time.perf_counter()
        vectors = state.projection.apply(np.concatenate([e.feature for e in examples]))
        own = {e.own for e in examples if e.own is not None}
        excluded = None if asked.spec.keep_self or not own else np.array(sorted(own), np.int64)
        scores, ids = state.live.search(
            combine(vectors, weights), asked.spec.k, asked.allowed, excluded
        )
        self._note(state.live.trouble)
        hits = self._hits(scores[0], ids[0], {e.content for e in examples}, asked)
        seconds = before + time.perf_counter() - start
        return self._ranking(state, examples, hits, asked.spec, seconds)

    def _ranking(
        self,
        state: State,
        examples: Sequence[Example],
        hits: tuple[Hit, ...],
        spec: QuerySpec,
        seconds: float,
    ) -> Ranking:
        return Ranking(
            query=" + ".join(e.name for e in examples),
            hits=kept(hits, state, spec, len(examples) == 1),
            index=self.path,
            took_ms=seconds * 1000,
            files=tuple(e.file for e in examples if e.file is not None),
            min_match=spec.min_match,
            nearest=hits[0] if hits and spec.min_match is not None else None,
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
