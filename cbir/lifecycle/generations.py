"""Derived state: when a projection is fitted, and the FAISS file that goes with it.

A projection is fitted on the gallery's stored features, never by embedding again: at 500 different
pictures, and whenever the gallery has grown by a quarter since (a projection that was fitted on
the first folder alone serves the later ones badly). The sample is chosen by the contents' hashes:
it depends on what is in the gallery, and not on the order in which it came.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from cbir.catalog import CatalogWriter, EmbedderRow, Generation
from cbir.config import IndexSpec
from cbir.embed.projection import FIT_AT, SAMPLE, Projection, fit, sampled
from cbir.index import (
    DerivedFileError,
    FaissIndex,
    Made,
    Wanted,
    build,
    derived_file,
    derived_files,
    folded,
    plan,
    prune_derived,
    replan,
    write_derived,
    write_vectors,
)
from cbir.query.state import State, StoredVectors, load_state, read_projection
from cbir.types import Vectors

GROWTH = 1.25
KEEP_SHARE = 0.8
"""A projection is kept until the gallery falls below this share of `FIT_AT`: scores should not jump
to and fro while it stays about there."""
PENDING_SHARE = 0.01
"""A derived file is made anew when more than this share of the gallery has changed since."""
DEAD_SHARE = 0.2
"""A graph is built again when more than this share of its rows is dead."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What `refresh` did: the live generation, whether it is new, on how many it is fitted.

    `made` is what was made and measured of the search index, None where that is not known.
    """

    generation: int
    new: bool
    fitted: int
    dims: int
    written: bool
    made: Made | None = None


def refresh(
    catalog: CatalogWriter, *, refit: bool = False, rebuild: bool = False, reindex: bool = False
) -> Refreshed:
    """Bring the derived state up to date with the catalog.

    `refit` fits the projection again, `rebuild` makes the FAISS file again, in any case; `reindex`
    makes a generation of the same projection and calibration whose search index is planned, built
    and tuned again.
    """
    spec = IndexSpec.from_dict(catalog.setting("index_spec") or {})
    row = catalog.embedder()
    live = catalog.generation()
    if row is None:  # nothing was ever embedded: there is nothing to derive from
        return Refreshed(0, False, 0, 0, False)
    count = catalog.count_embedded(row)
    fitted = live is not None and live.projection is not None
    fitting = spec.projection == "pca" and count >= (KEEP_SHARE * FIT_AT if fitted else FIT_AT)
    if live is None or refit or _outdated(live, spec, row, count, fitting):
        made = begin(catalog, row, spec, fitting)
    elif reindex or _search(IndexSpec.from_dict(json.loads(live.spec))) != _search(spec):
        made = _begin_alike(catalog, live, row, spec)
    else:
        return derive(catalog, live, rebuild)
    with catalog.writing():
        catalog.make_live(made.generation)
    tidy(catalog)
    return made


def begin(
    catalog: CatalogWriter, row: EmbedderRow, spec: IndexSpec, fitting: bool | None = None
) -> Refreshed:
    """Make a generation of an embedder's features, with its FAISS file, that is not live yet.

    `fitting`: whether a projection is fitted; None: where there are pictures enough for it.
    """
    count = catalog.count_embedded(row)
    if fitting is None:
        fitting = spec.projection == "pca" and count >= FIT_AT
    projection = fit(_sample(catalog, row, spec.seed), spec.dims) if fitting else None
    with catalog.writing():
        number = catalog.begin_generation(
            row.id,
            spec.canonical(),
            None if projection is None else projection.to_bytes(),
            count if projection is not None else 0,
        )
    used = projection or Projection.none(row.feature_dims)
    made = _build(catalog, number, StoredVectors(catalog, row, used), spec)
    return Refreshed(number, True, count if projection else 0, used.dims, True, made)


def _begin_alike(
    catalog: CatalogWriter, live: Generation, row: EmbedderRow, spec: IndexSpec
) -> Refreshed:
    """As `begin`, with the projection and the calibration of the live generation: only its search
    index is made otherwise."""
    with catalog.writing():
        number = catalog.begin_generation(row.id, spec.canonical(), live.projection, live.fitted)
        catalog.set_calibration(number, catalog.calibration(live.id))
    projection = read_projection(live, row)
    made = _build(catalog, number, StoredVectors(catalog, row, projection), spec)
    return Refreshed(number, True, live.fitted, projection.dims, True, made)


def tidy(catalog: CatalogWriter) -> None:
    """Remove derived files but the newest of the live generation and of the former one."""
    wanted = {catalog.live(), catalog.setting("former")} - {None}
    newest = {f.generation: f for f in derived_files(catalog.index) if f.generation in wanted}
    prune_derived(catalog.index, *newest.values())


def _outdated(live: Generation, spec: IndexSpec, row: EmbedderRow, n: int, fitting: bool) -> bool:
    """Whether another projection is due."""
    stored = IndexSpec.from_dict(json.loads(live.spec))
    if (stored.dims, stored.projection, stored.seed) != (spec.dims, spec.projection, spec.seed):
        return True
    if live.embedder != row.id:
        return True
    if fitting != (live.projection is not None):
        return True
    return fitting and n >= GROWTH * live.fitted


def _search(spec: IndexSpec) -> Wanted:
    """What a spec asks of the search index."""
    return Wanted(spec.kind, spec.recall, spec.memory, spec.latency_ms)


def _sample(catalog: CatalogWriter, row: EmbedderRow, seed: int) -> Vectors:
    """Features of sampled contents, float32 (m, f), in the order of the contents' hashes."""
    contents = array("q")

    def hashes() -> Iterator[bytes]:
        for content, key in catalog.content_hashes(row):
            contents.append(content)
            yield key

    rows = sampled(hashes(), SAMPLE, seed)
    wanted = np.frombuffer(contents, np.int64)[rows]
    blocks = list(catalog.content_features(row, wanted.tolist()))
    ids = np.concatenate([block for block, _ in blocks])
    features = np.concatenate([rows for _, rows in blocks])
    order = np.argsort(ids)
    return np.asarray(features[order[np.searchsorted(ids[order], wanted)]], np.float32)


def _build(catalog: CatalogWriter, generation: int, source: StoredVectors, spec: IndexSpec) -> Made:
    """Plan, build, tune and write the FAISS file of a generation from all stored features."""
    wanted = _search(spec)
    with catalog.reading():
        seq = catalog.seq
        dims = source.projection.dims
        planned = plan(len(source.ids()), dims, wanted)
        vectors = derived_file(catalog.index, generation, seq).vectors
        store, made = build(source, dims, planned, wanted, spec.seed, vectors)
    return _write(catalog, generation, seq, store, made)


def _copy_vectors(path: str, state: State) -> None:
    """The embeddings of a live index with its changes: of its file, where that is sound."""
    live = state.live
    try:
        write_vectors(path, live.dims, live.blocks() or state.stored.blocks())
    except DerivedFileError:
        write_vectors(path, live.dims, state.stored.blocks())


def _write(
    catalog: CatalogWriter, generation: int, seq: int, store: FaissIndex, made: Made
) -> Made:
    """Write a derived file (its vectors are there), then what was made and measured. A kill between
    the two leaves notes of another file, at worst of another kind: then `derive` builds again."""
    try:
        file = write_derived(catalog.index, generation, seq, store)
    except BaseException:  # what was written for it would only take space
        left = derived_file(catalog.index, generation, seq)
        if not os.path.exists(left.path) and os.path.exists(left.vectors):
            os.remove(left.vectors)
        raise
    size = os.path.getsize(file.path) / max(1, len(store))
    made = replace(made, bytes_per_vector=round(size, 1))
    with catalog.writing():
        catalog.put_made(generation, asdict(made))
    return made


def derive(catalog: CatalogWriter, live: Generation, rebuild: bool = False) -> Refreshed:
    """Bring a generation's FAISS file up to date where enough has changed.

    An exact one is merged; another takes changes in, and is built again where they are too many for
    it, or where the gallery's size asks for another kind.
    """
    notes: list[str] = []
    with catalog.reading():
        state = load_state(catalog, notes, live.id)
    assert state is not None
    current = [f for f in derived_files(catalog.index) if f.generation == live.id]
    missing = not current or bool(notes)
    due = state.live.pending > PENDING_SHARE * max(1, len(state.live.base))
    made = state.made
    known = made is None or made.kind == state.live.base.kind
    written = rebuild or missing or due or not known
    if written and state.embedder is not None:
        spec = IndexSpec.from_dict(json.loads(live.spec))
        if rebuild or missing or not known or _stale(state, spec):
            made = _build(catalog, live.id, state.stored, spec)
        else:
            made = _fold(catalog, state, spec)
    tidy(catalog)
    return Refreshed(live.id, False, live.fitted, state.projection.dims, written, made)


def _stale(state: State, spec: IndexSpec) -> bool:
    """Whether changes are too many to be taken in, or ask for another kind."""
    base, made, n = state.live.base, state.made, len(state.live)
    if base.on_disk:  # it cannot be changed where it lies
        return True
    if replan(base.kind, n, base.dims, _search(spec)).kind != base.kind:
        return True
    if made is None:
        return not base.exact
    gone = base.dead + len(state.live.masked)
    if base.kind == "hnsw" and gone > DEAD_SHARE * (len(base) + base.dead):
        return True
    return not base.exact and n >= 2 * made.images


def _fold(catalog: CatalogWriter, state: State, spec: IndexSpec) -> Made | None:
    """Write a derived file that has the changes in it, measured as it was."""
    live, made = state.live, state.made
    if made is None:
        write_derived(catalog.index, state.generation.id, live.seq, live.merged())
        return None
    planned = replan(live.base.kind, len(live), live.dims, _search(spec))
    with catalog.reading():
        if not live.base.exact:
            file = derived_file(catalog.index, state.generation.id, live.seq)
            _copy_vectors(file.vectors, state)
        store, made = folded(live, state.stored, replace(made, reason=planned.reason), spec.seed)
    return _write(catalog, state.generation.id, live.seq, store, made)
