"""Taking images out of an index, and taking its vectors and rows out of cbir."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from cbir.catalog import Catalog
from cbir.errors import OperationFailedError, UsageError
from cbir.index import neighbours
from cbir.lifecycle.generations import refresh
from cbir.lifecycle.sync import writing
from cbir.query import find_file, spellings
from cbir.query.match import Calibration
from cbir.query.state import load_state, read_calibration
from cbir.types import Ids, Vectors


@dataclass(frozen=True, slots=True)
class Removal:
    """What `remove` did: images taken out, arguments that named nothing."""

    removed: int
    unknown: tuple[str, ...]
    forgotten: tuple[str, ...] = ()


def remove(index: str, ids: Sequence[int] = (), paths: Sequence[str] = ()) -> Removal:
    """Take images out of an index by id, by file, or by folder (then it is forgotten).

    What was known of them goes too: rows, features, metadata. The files themselves stay; one that
    stays below a folder of the index comes back with the next `cbir index`: exclude it, or remove
    the folder.
    """
    with writing(index) as catalog:
        roots = {root.path: root for root in catalog.roots()}
        chosen: set[int] = set()
        unknown: list[str] = []
        forgotten: list[str] = []
        known = set(catalog.ids().tolist())
        for image in ids:
            chosen.add(image) if image in known else unknown.append(f"id:{image}")
        for path in paths:
            found = find_file(catalog, path)
            real = os.path.realpath(path)
            below = [] if found is not None else _below(catalog, path)
            inside = [r for r in roots if r.startswith(os.path.join(real, ""))]
            if found is not None:
                chosen.add(found)
            elif real in roots:
                forgotten.append(real)
                chosen.update(below)
            elif below or inside:
                chosen.update(below)
                forgotten += inside
            else:
                unknown.append(path)
        with catalog.writing() as seq:
            catalog.remove_files(seq, sorted(chosen))
            for path in forgotten:
                catalog.forget_root(roots[path].id)
            catalog.drop_orphans()
        refresh(catalog)
    return Removal(len(chosen), tuple(unknown), tuple(forgotten))


def _below(catalog: Catalog, folder: str) -> list[int]:
    """Ids of all images below a folder, however it is spelt."""
    starts = tuple(os.path.join(spelling, "") for spelling in spellings(folder))
    return [
        state.id
        for root in catalog.roots()
        for state in catalog.states(root.id).values()
        if os.path.join(root.path, state.path).startswith(starts)
    ]


def export_vectors(index: str, file: str) -> tuple[int, int]:
    """Write all embeddings to an `.npz`; (n, d).

    Arrays: ids int64 (n,), vectors float32 (n, d) unit rows, paths (n,) UTF-8 text; and the
    generation, the embedder's fingerprint and its spec as text. No pickle is needed to read it.
    Raises UsageError (another suffix), OperationFailedError (cannot be written).
    """
    if not file.endswith(".npz"):
        raise UsageError(f"vectors: expected a file name that ends with .npz; received {file}.")
    with Catalog(index) as catalog, catalog.reading():
        state = load_state(catalog)
        ids: Ids = np.empty(0, np.int64)
        vectors: Vectors = np.empty((0, 0), np.float32)
        if state is not None:
            whole = state.live.merged()
            ids, vectors = whole.ids(), whole.vectors()
        files = {row.id: _text(row.file) for row in catalog.rows(ids.tolist())}
        names = [files.get(image, "") for image in ids.tolist()]
        row = catalog.embedder()
        generation = catalog.generation()
    arrays = {
        "ids": ids,
        "vectors": vectors,
        "paths": np.array(names, dtype=np.str_),
        "generation": np.array(generation.id if generation else 0),
        "fingerprint": np.array(row.fingerprint if row else ""),
        "spec": np.array(row.spec if row else "{}"),
    }
    try:
        with open(file + ".new", "wb") as opened:
            np.savez(opened, **arrays)  # type: ignore[arg-type]
        os.replace(file + ".new", file)
    except OSError as error:
        raise OperationFailedError(f"{file} cannot be written ({error.strerror}).") from None
    return len(ids), vectors.shape[1]


def export_csv(index: str, out: IO[str]) -> int:
    """Write a row for each image: id, path, width, height, format, content, metadata columns."""
    with Catalog(index) as catalog, catalog.reading():
        columns = catalog.columns()
        writer = csv.writer(out)
        writer.writerow(["id", "path", "width", "height", "format", "content", *columns])
        count = 0
        for row in catalog.rows():
            own = catalog.metadata([row.id]).get(row.id, {})
            writer.writerow(
                [row.id, _text(row.file), row.width, row.height, row.format, row.content.hex(),
                 *(own.get(column, "") for column in columns)]
            )  # fmt: skip
            count += 1
    return count


def export_neighbours(index: str, k: int) -> Iterator[tuple[int, str]]:
    """The k nearest other images of every image, the k-NN graph of the gallery, as CSV in parts:
    how many images a part has, and its text.

    A row an edge, by id and rank: id, path, rank, neighbour, neighbour_path, score (cosine).
    Searched a block of images at a time, as the index kind has it; no more is held.
    """
    with Catalog(index) as catalog, catalog.reading():
        yield 0, "id,path,rank,neighbour,neighbour_path,score\r\n"
        state = load_state(catalog)
        if state is None:
            return
        stored = state.stored
        for own, scores, found in neighbours(state.live, stored.ids(), stored.vectors_of, k):
            wanted = np.union1d(own, found[found >= 0])
            files = {row.id: _text(row.file) for row in catalog.rows(wanted.tolist())}
            out = io.StringIO(newline="")
            writer = csv.writer(out)
            for image, row_scores, others in zip(own.tolist(), scores, found, strict=True):
                pairs = zip(others.tolist(), row_scores.tolist(), strict=True)
                for rank, (other, score) in enumerate(pairs, start=1):
                    if other >= 0:
                        writer.writerow([image, files[image], rank, other, files[other],
                                         f"{min(1.0, score):.6f}"])  # fmt: skip
            yield len(own), out.getvalue()


def info(index: str) -> dict[str, object]:
    """What an index is and holds, as plain values (what `cbir info --json` prints)."""
    with Catalog(index) as catalog, catalog.reading():
        row, generation = catalog.embedder(), catalog.generation()
        roots = [
            {"path": _text(root.path), "images": len(catalog.states(root.id)),
             "there": os.path.isdir(root.path), "scanning": dict(root.scanning)}
            for root in catalog.roots()
        ]  # fmt: skip
        spec = json.loads(row.spec) if row else None
        calibration = _calibration(catalog)
        unembedded = catalog.without_feature(row.id) if row else []
        return {
            "index": _text(catalog.index),
            "images": catalog.count(),
            "different_pictures": catalog.count_contents(),
            "failures": len(catalog.failures()),
            "roots": roots,
            "embedder": spec,
            "fingerprint": row.fingerprint if row else None,
            "precision": (catalog.setting("precision") or {}).get(row.fingerprint) if row else None,
            "feature_dims": row.feature_dims if row else None,
            "generation": generation.id if generation else None,
            "index_spec": json.loads(generation.spec) if generation else None,
            "search": catalog.made(generation.id) if generation else None,
            "fitted_on": generation.fitted if generation else None,
            "created": generation.created if generation else None,
            "without_feature": len(unembedded),
            "former": _former(catalog),
            "calibrated_on": calibration.images if calibration else None,
            "metadata_columns": catalog.columns(),
            "seq": catalog.seq,
            "bytes": _folder_size(catalog.index),
        }


def _former(catalog: Catalog) -> dict[str, object] | None:
    """The embedder and generation that `cbir adopt --roll-back` goes back to."""
    former = catalog.former()
    row = None if former is None else catalog.embedder_of(former)
    if former is None or row is None:
        return None
    return {
        "embedder": json.loads(row.spec), "fingerprint": row.fingerprint, "generation": former.id,
        "created": former.created, "without_feature": len(catalog.without_feature(row.id)),
    }  # fmt: skip


def _calibration(catalog: Catalog) -> Calibration | None:
    """The live generation's; None where there is none that can be read (`check` says so)."""
    live = catalog.generation()
    try:
        return None if live is None else read_calibration(catalog, live)
    except ValueError:
        return None


def _folder_size(folder: str) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(parent, name))
            except OSError:
                continue
    return total


def _text(path: str) -> str:
    """A path as valid Unicode: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
