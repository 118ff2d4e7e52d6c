"""What a search needs of an index, brought up to date with its catalog before each search."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cbir.catalog import Catalog, EmbedderRow, Generation
from cbir.config import IndexSpec
from cbir.embed.projection import Projection
from cbir.errors import IndexDamagedError
from cbir.index import (
    DerivedFileError,
    FaissIndex,
    LiveIndex,
    Made,
    VectorFile,
    Wanted,
    derived_files,
    read_derived,
)
from cbir.query.match import Calibration
from cbir.types import Ids, Vectors


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """The embeddings of a gallery from its stored features: an `index.builder.Source`."""

    catalog: Catalog
    embedder: EmbedderRow | None
    projection: Projection

    def ids(self) -> Ids:
        """Ids of all images that have a feature, int64 (n,), rising."""
        if self.embedder is None:
            return np.empty(0, np.int64)
        return self.catalog.with_feature(self.embedder.id)

    def vectors_of(self, ids: Ids) -> Vectors:
        """The embeddings of rising ids, float32 (n, d); NaN where no feature is stored."""
        found = np.full((len(ids), self.projection.dims), np.nan, np.float32)
        for block, vectors in self._read(ids.tolist()):
            found[np.searchsorted(ids, block)] = vectors
        return found

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All ids and embeddings, 4,096 at most at a time, by id."""
        return self._read(None)

    def _read(self, ids: Sequence[int] | None) -> Iterator[tuple[Ids, Vectors]]:
        if self.embedder is not None:
            for block, features in self.catalog.features(self.embedder, ids):
                yield block, self.projection.apply(features)


@dataclass(slots=True)
class State:
    """One generation, searchable: all parts belong together; `stored` is what its vectors are
    made of."""

    generation: Generation
    embedder: EmbedderRow | None
    projection: Projection
    live: LiveIndex
    stored: StoredVectors
    made: Made | None = None
    """What was made and measured of its derived file; None where that is not known."""
    calibration: Calibration | None = None
    uncalibrated: str = ""
    """What is wrong with the stored calibration, where it is not used."""
    spaced: dict[int, Vectors] = field(default_factory=dict)
    """Vectors of images in the calibration's space that a query has asked for, each (d,)."""


def load_state(
    catalog: Catalog, notes: list[str] | None = None, number: int | None = None
) -> State | None:
    """The state of the live generation, or of the one with this id, within a read transaction.

    None where there is none yet.

    What is wrong with derived files is appended to `notes`; the state is right all the same,
    since it is then made from the stored features.
    """
    generation = catalog.generation(number)
    if generation is None:
        return None
    embedder = catalog.embedder_of(generation)
    projection = read_projection(generation, embedder)
    notes = [] if notes is None else notes
    base, seq, vectors = _base(catalog, generation, notes)
    made = Made.from_dict(catalog.made(generation.id) or {})
    stored = StoredVectors(catalog, embedder, projection)
    if base is None:
        live = LiveIndex(FaissIndex(projection.dims), -1)
    else:
        known = made is not None and made.kind == base.kind
        factor = made.factor if made and known else 0
        live = LiveIndex(base, seq, stored.vectors_of, factor, vectors)
    state = State(generation, embedder, projection, live, stored, made)
    catch_up(catalog, state)
    _calibrate(catalog, state)
    return state


def catch_up(catalog: Catalog, state: State) -> None:
    """Take in what the catalog has beyond the state's seq, within a read transaction."""
    seq = catalog.seq
    if seq == state.live.seq:
        return
    changed = catalog.ids(above=state.live.seq)
    removed = catalog.removed(above=state.live.seq)
    ids, vectors = embeddings(catalog, state, changed.tolist())
    state.live.update(np.union1d(removed, changed), ids, vectors, seq)
    _calibrate(catalog, state)


def embeddings(catalog: Catalog, state: State, ids: Sequence[int]) -> tuple[Ids, Vectors]:
    """The embeddings of these images from their stored features: int64 (n,), float32 (n, d)."""
    parts_ids: list[Ids] = [np.empty(0, np.int64)]
    parts: list[Vectors] = [np.empty((0, state.projection.dims), np.float32)]
    if state.embedder is not None:
        for block, features in catalog.features(state.embedder, ids):
            parts_ids.append(block)
            parts.append(state.projection.apply(features))
    return np.concatenate(parts_ids), np.concatenate(parts)


def features_of(catalog: Catalog, embedder: EmbedderRow, ids: Sequence[int]) -> dict[int, Vectors]:
    """Image id → its stored feature, float32 (f,), for those that have one."""
    found: dict[int, Vectors] = {}
    for block, features in catalog.features(embedder, sorted(set(ids))):
        found.update(zip(block.tolist(), features, strict=True))
    return found


def read_calibration(catalog: Catalog, generation: Generation) -> Calibration | None:
    """The generation's calibration, None where it has none.

    Raises ValueError where one is stored that cannot be read, or is not of its embedder.
    """
    data, embedder = catalog.calibration(generation.id), catalog.embedder_of(generation)
    if data is None or embedder is None:
        return None
    found = Calibration.from_bytes(data)
    if len(found.space.mean) != embedder.feature_dims:
        raise ValueError(
            f"it is for features of {len(found.space.mean)} dims, these have "
            f"{embedder.feature_dims}"
        )
    return found


def _calibrate(catalog: Catalog, state: State) -> None:
    """Take the stored calibration; one that cannot be read counts as none, and is told of."""
    state.spaced.clear()
    try:
        state.calibration, state.uncalibrated = read_calibration(catalog, state.generation), ""
    except ValueError as error:
        state.calibration, state.uncalibrated = None, f"the calibration cannot be read ({error})"


def read_projection(generation: Generation, embedder: EmbedderRow | None) -> Projection:
    """The generation's projection; plain L2 where nothing was fitted."""
    if generation.projection is None:
        return Projection.none(embedder.feature_dims if embedder else 1)
    try:
        return Projection.from_bytes(generation.projection)
    except ValueError as error:
        raise IndexDamagedError(
            f"The projection of generation {generation.id} cannot be read ({error}). Run "
            "`cbir index --refit`: it is fitted again from the stored features."
        ) from None


def _base(
    catalog: Catalog, generation: Generation, notes: list[str]
) -> tuple[FaissIndex | None, int, VectorFile | None]:
    """The newest derived file that can be trusted, its seq, and the embeddings beside it; looked
    for twice, as a writer may swap them. Without embeddings, hits are scored by stored features."""
    trouble: list[str] = []
    spec = IndexSpec.from_dict(json.loads(generation.spec))
    memory = Wanted(memory=spec.memory).budget
    for last in (False, True):
        trouble.clear()
        for file in reversed(derived_files(catalog.index)):
            if file.generation != generation.id or file.seq > catalog.seq:
                continue
            try:
                base = read_derived(file, memory)
            except DerivedFileError as error:
                trouble.append(f"{file.path} {error}; searching from the stored features instead")
                continue
            try:
                return base, file.seq, None if base.exact else VectorFile(file.vectors)
            except DerivedFileError as error:
                trouble.append(f"{file.vectors} {error}; scored by the stored features instead")
                if last:
                    notes += trouble
                    return base, file.seq, None
                break
    notes += trouble
    return None, -1, None
