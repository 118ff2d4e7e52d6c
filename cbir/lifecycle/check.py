"""Finding what is wrong with an index, and mending what can be mended."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cbir.catalog import Catalog, EmbedderRow, blob_size, from_blobs
from cbir.config import FeatureExtractor
from cbir.errors import CbirError, IndexDamagedError
from cbir.index import FaissIndex, derived_files
from cbir.lifecycle.embedders import EmbedderRequest, unknown
from cbir.lifecycle.folders import absence
from cbir.lifecycle.generations import refresh
from cbir.lifecycle.sync import SyncOptions, sync, writing
from cbir.query.state import State, embeddings, load_state, read_projection
from cbir.types import Ids

UNIT_TOLERANCE = 1e-3
EXAMPLES = 5
CODE_COSINE = {"hnsw": 0.9, "ivf": 0.9, "pq": 0.25}
"""The least cosine of a code to its vector. Usual are .9999 for one byte a dimension, .6 and more
for one bit. Vectors of two pictures are near 0, unless nothing was subtracted from their
features."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: how many, some examples, and what mends it.

    `ids` are the images it is about, where it is about images.
    """

    kind: str
    count: int
    examples: tuple[str, ...]
    remedy: str
    repairable: bool = True
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was looked at and what was found; `repaired` says what `repair` did."""

    images: int
    faults: tuple[Fault, ...]
    repaired: tuple[str, ...] = ()


REPAIR = "cbir check --repair"


def check(index: str) -> CheckReport:
    """Look at files, features, derived files and embedder of an index; changes nothing.

    Raises IndexMissingError, IndexIncompatibleError; a damaged catalog is a fault.
    """
    with Catalog(index) as catalog:
        try:
            sound = catalog.db.execute("PRAGMA quick_check(3)").fetchall()
        except sqlite3.DatabaseError as error:
            sound = [(str(error),)]
        if sound != [("ok",)]:
            fault = Fault(
                "catalog damaged", len(sound), tuple(str(row[0]) for row in sound),
                "restore it from a backup, or index again into a new folder", repairable=False,
            )  # fmt: skip
            return CheckReport(0, (fault,))
        with catalog.reading():
            return CheckReport(catalog.count(), tuple(_faults(catalog)))


def repair(index: str, embedder: EmbedderRequest | FeatureExtractor | None = None) -> CheckReport:
    """Mend what can be mended; the report has the faults that remain.

    Files that are gone are dropped, changed ones embedded again, features that cannot be used
    made again, derived files made again, and what belongs to nothing is removed.
    """
    before = check(index)
    done: list[str] = []
    if any(fault.kind == "catalog damaged" for fault in before.faults):
        return before
    ids = {i for fault in before.faults for i in fault.ids}
    bad = {fault.kind: fault for fault in before.faults}
    with writing(index) as catalog:
        broken = [i for kind in ("feature unusable", "feature missing") if kind in bad
                  for i in bad[kind].ids]  # fmt: skip
        row = catalog.embedder()
        if broken and row is not None:
            with catalog.writing():
                catalog.drop_features(row.id, broken)
    unreadable = "projection unreadable" in bad
    if ids:
        report = sync(
            index, (), SyncOptions(recheck=frozenset(ids), refit=unreadable), embedder=embedder
        )
        done.append(
            f"files looked at again: {report.embedded} embedded, {report.changed} changed, "
            f"{report.moved} moved, {report.removed} dropped, {len(report.failures)} failed"
        )
    with writing(index) as catalog:
        if broken or any(kind.startswith("FAISS") for kind in bad):
            refreshed = refresh(catalog, rebuild=True)
            done.append(f"FAISS file of generation {refreshed.generation} made again")
        if unreadable:
            refreshed = refresh(catalog, refit=True)
            done.append(f"projection fitted again on {refreshed.fitted} pictures")
        live = catalog.generation()
        if "calibration unreadable" in bad and live is not None:
            with catalog.writing():
                catalog.set_calibration(live.id, None)
            done.append("calibration taken out; the next `cbir index` makes another")
        with catalog.writing():
            orphans = catalog.drop_orphans()
        if orphans:
            done.append(f"{orphans} contents that no file has any more removed")
    after = check(index)
    return CheckReport(after.images, after.faults, tuple(done))


def _faults(catalog: Catalog) -> Iterator[Fault]:
    yield from _file_faults(catalog)
    row = catalog.embedder()
    if row is None:
        return
    yield from _embedder_faults(catalog, row)
    yield from _former_faults(catalog)
    bad = list(_feature_faults(catalog, row))
    yield from bad
    if not bad:
        yield from _derived_faults(catalog)


def _file_faults(catalog: Catalog) -> Iterator[Fault]:
    """Files that are gone or changed under roots that are there; roots that are not."""
    gone: list[tuple[int, str]] = []
    changed: list[tuple[int, str]] = []
    for root in catalog.roots():
        states = catalog.states(root.id)
        if absence(root.path):
            if states:
                yield Fault(
                    "folder not there", len(states), (root.path,),
                    "mount it again, or drop its images with `cbir index --prune`",
                    repairable=False,
                )  # fmt: skip
            continue
        for state in states.values():
            path = os.path.join(root.path, *state.path.split("/"))
            try:
                found = os.stat(path)
            except OSError:
                gone.append((state.id, path))
                continue
            if (found.st_size, found.st_mtime_ns) != (state.size, state.mtime_ns):
                changed.append((state.id, path))
    remedy = f"`cbir index`, or `{REPAIR}`"
    yield from _about_images("file gone", gone, remedy)
    yield from _about_images("file changed", changed, remedy)


def _embedder_faults(catalog: Catalog, row: EmbedderRow) -> Iterator[Fault]:
    """Whether the embedder that made the features can be had here."""
    remedy = "install what holds that embedder, or index again into a new folder"
    note = unknown(catalog, row)
    if note:
        yield Fault("fingerprint unknown", 1, (note,), remedy, repairable=False)


def _former_faults(catalog: Catalog) -> Iterator[Fault]:
    """Whether one could go back to the embedder that was live before another was adopted."""
    if catalog.setting("former") is None:
        return
    former = catalog.former()
    row = None if former is None else catalog.embedder_of(former)
    note = "its generation is not there"
    if former is not None and row is not None:
        note = unknown(catalog, row)
        try:
            read_projection(former, row)
        except IndexDamagedError as error:
            note = str(error)
    if note:
        yield Fault(
            "former embedder unusable", 1, (note,),
            "`cbir adopt --forget`: what is live does not need it", repairable=False,
        )  # fmt: skip


def _feature_faults(catalog: Catalog, row: EmbedderRow) -> Iterator[Fault]:
    """Features that are missing, torn, or not finite."""
    query = (
        "SELECT f.id, t.feature FROM files f LEFT JOIN features t ON t.content = f.content AND "
        "t.embedder = ?"
    )
    missing: list[int] = []
    unusable: list[int] = []
    for image, blob in catalog.db.execute(query, (row.id,)):
        if blob is None:
            missing.append(image)
        elif len(blob) != blob_size(row.feature_dims) or not bool(
            np.isfinite(from_blobs([blob], row.feature_dims)).all()
        ):
            unusable.append(image)
    for kind, ids in (("feature missing", missing), ("feature unusable", unusable)):
        rows = catalog.rows(ids) if ids else ()
        yield from _about_images(kind, [(r.id, r.file) for r in rows], f"`{REPAIR}`")


def _derived_faults(catalog: Catalog) -> Iterator[Fault]:
    """A FAISS file that is torn, missing, of another generation, or not true to the catalog."""
    remedy = f"`{REPAIR}`"
    notes: list[str] = []
    try:
        state = load_state(catalog, notes)
    except IndexDamagedError as error:
        yield Fault("projection unreadable", 1, (str(error),), remedy)
        return
    except (CbirError, ValueError) as error:
        yield Fault("FAISS file stale", 1, (str(error),), remedy)
        return
    if state is not None and state.uncalibrated:
        yield Fault("calibration unreadable", 1, (state.uncalibrated,), remedy)
    if notes:
        yield Fault("FAISS file corrupt", len(notes), tuple(notes), remedy)
    files = derived_files(catalog.index)
    if state is None:
        if catalog.count():
            yield Fault("FAISS file missing", 1, ("no generation is live",), remedy)
        return
    usable = [f for f in files if f.generation == state.generation.id and f.seq <= catalog.seq]
    former = catalog.setting("former")
    stale = [os.path.basename(f.path) for f in files if f not in usable and f.generation != former]
    if stale:
        yield Fault("FAISS file stale", len(stale), tuple(stale[:EXAMPLES]), remedy)
    if not usable:
        yield Fault("FAISS file missing", 1, (f"generation {state.generation.id}",), remedy)
        return
    if not notes:
        yield from _vector_faults(catalog, state, remedy)


def _vector_faults(catalog: Catalog, state: State, remedy: str) -> Iterator[Fault]:
    """Whether the searchable vectors are finite, of unit length, and those of the catalog."""
    base: FaissIndex = state.live.base
    base_ids = base.ids()
    if len(np.unique(base_ids)) != len(base_ids):
        values, counts = np.unique(base_ids, return_counts=True)
        yield _vectors("FAISS ids twice", values[counts > 1], remedy)
    if not base.exact:
        yield from _code_faults(catalog, state, remedy)
        return
    whole = state.live.merged()
    ids, vectors = whole.ids(), whole.vectors()
    lengths = np.linalg.norm(vectors, axis=1)
    # Also true for NaN. A zero row is no fault: a feature that is the gallery's mean, or a picture
    # that the network has no answer to, has no direction.
    wrong = ~((np.abs(lengths - 1) <= UNIT_TOLERANCE) | (lengths == 0))
    if wrong.any():
        yield _vectors("FAISS vectors not finite or not unit", ids[wrong], remedy)
    off = np.setxor1d(ids, catalog.ids())  # features are all there: that was looked at before
    if len(off):
        yield _vectors("FAISS ids not those of the catalog", off, remedy)
        return
    known, expected = embeddings(catalog, state, ids.tolist())
    far = np.abs(vectors[np.argsort(ids)] - expected).max(axis=1, initial=0) > UNIT_TOLERANCE
    if far.any():
        yield _vectors("FAISS vectors not those of the features", known[far], remedy)


def _code_faults(catalog: Catalog, state: State, remedy: str) -> Iterator[Fault]:
    """The same of an index that is not exact: whether its codes stand for the stored features.

    Codes and features are read in blocks. A code is lossy: what counts is its angle to the vector.
    """
    base, masked = state.live.base, state.live.masked
    ids = np.sort(base.ids())
    there = np.union1d(np.setdiff1d(ids, masked), state.live.delta.ids())
    off = np.setxor1d(there, catalog.ids())
    if len(off):
        yield _vectors("FAISS ids not those of the catalog", off, remedy)
        return
    least, far, other = CODE_COSINE[base.kind], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    file = state.live.file  # where there is none, a note has said so
    for all_ids, all_rows in base.blocks():
        order = np.argsort(all_ids, kind="stable")
        order = order[np.isin(all_ids[order], masked, invert=True)]
        block, rows = all_ids[order], all_rows[order]
        expected = state.stored.vectors_of(block)
        if file is not None:
            apart = np.abs(file.vectors_of(block) - expected).max(axis=1, initial=0)
            other.append(block[~(apart <= UNIT_TOLERANCE)])
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = np.einsum("nd,nd->n", rows, expected) / np.maximum(lengths, 1e-12)
        nothing = np.abs(expected).max(axis=1, initial=0) == 0
        far.append(block[~((cosines >= least) | nothing)])
    wrong = np.concatenate(far)
    if len(wrong):
        yield _vectors("FAISS vectors not those of the features", wrong, remedy)
    damaged = np.concatenate(other)
    if len(damaged):
        yield _vectors("FAISS vectors damaged", damaged, remedy)
    elif file is not None and not (np.array_equal(file.ids, ids) and file.check()):
        yield Fault("FAISS vectors damaged", 1, (file.path,), remedy)


def _vectors(kind: str, ids: Ids, remedy: str) -> Fault:
    shown = tuple(f"id {i}" for i in ids[:EXAMPLES].tolist())
    return Fault(kind, len(ids), shown, remedy)


def _about_images(kind: str, found: Sequence[tuple[int, str]], remedy: str) -> Iterator[Fault]:
    if found:
        examples = tuple(path for _, path in found[:EXAMPLES])
        yield Fault(kind, len(found), examples, remedy, ids=tuple(i for i, _ in found))


__all__ = ["CheckReport", "Fault", "check", "repair"]
