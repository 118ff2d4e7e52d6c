"""Derived state: when a projection is fitted, and the FAISS file that goes with it.

A projection is fitted on the gallery's stored features, never by embedding again: at 500 different
pictures, and whenever the gallery has grown by a quarter since (a projection that was fitted on
the first folder alone serves the later ones badly). The sample is chosen by the contents' hashes:
it depends on what is in the gallery, and not on the order in which it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from cbir.catalog import CatalogWriter, EmbedderRow, Generation
from cbir.config import IndexSpec
from cbir.embed.projection import FIT_AT, SAMPLE, Projection, fit, sample_rows
from cbir.index import (
    DerivedFile,
    FaissIndex,
    derived_files,
    prune_derived,
    write_derived,
)
from cbir.query.state import load_state
from cbir.types import Vectors

GROWTH = 1.25
KEEP_SHARE = 0.8
"""A projection is kept until the gallery falls below this share of `FIT_AT`: scores should not jump
to and fro while it stays about there."""
PENDING_SHARE = 0.01
"""A derived file is made anew when more than this share of the gallery has changed since."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What `refresh` did: the live generation, whether it is new, on how many it is fitted."""

    generation: int
    new: bool
    fitted: int
    dims: int
    written: bool


def refresh(catalog: CatalogWriter, *, refit: bool = False, rebuild: bool = False) -> Refreshed:
    """Bring the derived state up to date with the catalog.

    `refit` fits the projection again, `rebuild` makes the FAISS file again, in any case.
    """
    spec = IndexSpec.from_dict(catalog.setting("index_spec") or {})
    row = catalog.embedder()
    live = catalog.generation()
    if row is None:  # nothing was ever embedded: there is nothing to derive from
        return Refreshed(0, False, 0, 0, False)
    _, hashes = catalog.content_hashes(row)
    fitted = live is not None and live.projection is not None
    fitting = spec.projection == "pca" and len(hashes) >= (
        KEEP_SHARE * FIT_AT if fitted else FIT_AT
    )
    if live is not None and not refit and not _outdated(live, spec, row, len(hashes), fitting):
        return derive(catalog, live, rebuild)
    made = begin(catalog, row, spec, fitting)
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
    contents, hashes = catalog.content_hashes(row)
    if fitting is None:
        fitting = spec.projection == "pca" and len(hashes) >= FIT_AT
    projection = None
    if fitting:
        rows = sample_rows(hashes, SAMPLE, spec.seed)
        projection = fit(_sample(catalog, row, contents[rows]), spec.dims)
    with catalog.writing():
        number = catalog.begin_generation(
            row.id,
            spec.canonical(),
            None if projection is None else projection.to_bytes(),
            len(hashes) if projection is not None else 0,
        )
    used = projection or Projection.none(row.feature_dims)
    _build(catalog, number, row, used)
    return Refreshed(number, True, len(hashes) if projection else 0, used.dims, True)


def tidy(catalog: CatalogWriter) -> None:
    """Remove derived files but the newest of the live generation and of the former one."""
    wanted = {catalog.live(), catalog.setting("former")} - {None}
    newest = {f.generation: f for f in derived_files(catalog.index) if f.generation in wanted}
    prune_derived(catalog.index, *newest.values())


def _outdated(live: Generation, spec: IndexSpec, row: EmbedderRow, n: int, fitting: bool) -> bool:
    """Whether another projection is due."""
    if IndexSpec.from_dict(json.loads(live.spec)) != spec:
        return True
    if live.embedder != row.id:
        return True
    if fitting != (live.projection is not None):
        return True
    return fitting and n >= GROWTH * live.fitted


def _sample(catalog: CatalogWriter, row: EmbedderRow, contents: object) -> Vectors:
    """Features of the sampled contents, float32 (m, f), in the order of the contents' hashes."""
    wanted = np.asarray(contents, np.int64)
    blocks = list(catalog.content_features(row, wanted.tolist()))
    ids = np.concatenate([block for block, _ in blocks])
    features = np.concatenate([rows for _, rows in blocks])
    order = np.argsort(ids)
    return np.asarray(features[order[np.searchsorted(ids[order], wanted)]], np.float32)


def _build(
    catalog: CatalogWriter, generation: int, row: EmbedderRow, projection: Projection
) -> DerivedFile:
    """Make the FAISS file of a generation from all stored features."""
    store = FaissIndex(projection.dims)
    with catalog.reading():
        seq = catalog.seq
        for ids, features in catalog.features(row):
            store.add(ids, projection.apply(features))
    return write_derived(catalog.index, generation, seq, store)


def derive(catalog: CatalogWriter, live: Generation, rebuild: bool = False) -> Refreshed:
    """Bring a generation's FAISS file up to date where enough has changed."""
    notes: list[str] = []
    with catalog.reading():
        state = load_state(catalog, notes, live.id)
    assert state is not None
    current = [f for f in derived_files(catalog.index) if f.generation == live.id]
    missing = not current or bool(notes)
    due = state.live.pending > PENDING_SHARE * max(1, len(state.live.base))
    if rebuild and state.embedder is not None:
        _build(catalog, live.id, state.embedder, state.projection)
    elif missing or due:
        write_derived(catalog.index, live.id, state.live.seq, state.live.merged())
    tidy(catalog)
    written = rebuild or missing or due
    return Refreshed(live.id, False, live.fitted, state.projection.dims, written)
