"""Vectors like those of photographs, and a catalog of an index filled with them.

A latent of 24 dims goes through a fixed random map with a rectifier, noise is added, rows become
unit length: neighbours are not trivially in one list, as they are among copies with a little noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cbir.catalog import CatalogWriter, create_catalog, from_blobs, to_blob
from cbir.config import IndexSpec
from cbir.embed import Projection
from cbir.types import Ids, Vectors

BLOCK = 8192
LATENT = 24


def vectors(n: int, dims: int, seed: int) -> Vectors:
    """Unit rows, float32 (n, dims)."""
    made = np.empty((n, dims), np.float32)
    for at, rows in blocks(n, dims, seed):
        made[at : at + len(rows)] = rows
    return made


def blocks(n: int, dims: int, seed: int) -> Iterator[tuple[int, Vectors]]:
    """The same rows, 8,192 at most at a time, with the number of the first."""
    world, rng = np.random.default_rng(1), np.random.default_rng(seed)
    first, second = world.normal(size=(LATENT, dims)), world.normal(size=(dims, dims)) / dims**0.5
    first, second = first.astype(np.float32), second.astype(np.float32)
    for at in range(0, n, BLOCK):
        m = min(BLOCK, n - at)
        latent = rng.standard_normal((m, LATENT), np.float32)
        hidden = np.maximum(latent @ first, 0) @ second
        rows = hidden + np.float32(0.3) * rng.standard_normal((m, dims), np.float32)
        yield at, rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Filler:
    """Puts made features into the catalog of an index, without pictures: what `cbir index` stores
    of pictures, in fewer statements."""

    def __init__(self, index: Path, dims: int, spec: IndexSpec) -> None:
        create_catalog(str(index))
        self.writer = CatalogWriter(str(index))
        with self.writer.writing():
            self.root = self.writer.add_root("/made", {})
            self.embedder = self.writer.add_embedder("made", json.dumps({}), dims)
            self.writer.set("embedder", "made")
            self.writer.set("index_spec", spec.to_dict())
        self.used = 0

    def add(self, rows: Vectors) -> Ids:
        """Store rows, float32 (n, d); their image ids, int64 (n,): never used before, rising."""
        ids = np.arange(self.used + 1, self.used + 1 + len(rows), dtype=np.int64)
        self.used += len(rows)
        halves = blobs(rows)
        with self.writer.writing() as seq:
            db = self.writer.db
            db.executemany(
                "INSERT INTO contents VALUES (?, ?, 1, 1, 'PNG')",
                ((i, i.to_bytes(16, "big")) for i in ids.tolist()),
            )
            db.executemany(
                "INSERT INTO features VALUES (?, ?, ?)",
                ((i, self.embedder, blob) for i, blob in zip(ids.tolist(), halves, strict=True)),
            )
            db.executemany(
                "INSERT INTO files VALUES (?, ?, ?, 1, 1, ?, ?)",
                ((i, self.root, b"%d" % i, i, seq) for i in ids.tolist()),
            )
        return ids

    def replace(self, ids: Ids, rows: Vectors) -> None:
        """Other features for images that are there, as when their files have changed."""
        with self.writer.writing() as seq:
            for i, blob in zip(ids.tolist(), blobs(rows), strict=True):
                self.writer.db.execute(
                    "UPDATE features SET feature = ? WHERE content = ?", (blob, i)
                )
                self.writer.db.execute("UPDATE files SET seq = ? WHERE id = ?", (seq, i))

    def remove(self, ids: Ids) -> None:
        """Take images out of the gallery."""
        with self.writer.writing() as seq:
            self.writer.remove_files(seq, ids.tolist())


def blobs(rows: Vectors) -> list[bytes]:
    """Each row as a catalog stores it (`cbir.catalog.to_blob`), all at once."""
    _, exponents = np.frexp(np.abs(rows).max(axis=1))
    scaled = np.ldexp(rows.astype(np.float64), -exponents[:, None]).astype("<f2")
    made = np.concatenate(
        (exponents.astype("<i2")[:, None].view(np.uint8), scaled.view(np.uint8)), axis=1
    )
    assert made[0].tobytes() == to_blob(rows[0])
    return [row.tobytes() for row in made]


def stored(rows: Vectors) -> Vectors:
    """What an index makes of rows that it has stored: rounded to 16 bits, of unit length again."""
    dims = rows.shape[1]
    return Projection.none(dims).apply(from_blobs(blobs(rows), dims))
