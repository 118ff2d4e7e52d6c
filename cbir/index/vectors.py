"""The embeddings of a generation's images on disk, beside an index that holds only codes of them.

What a search names as candidates is scored by these rows: exact cosines, without going to the
catalog's features and projecting them. `ann/<generation>-<seq>.vectors` is written once, before the
FAISS file that it belongs to; rows are read where they lie (memory-mapped), so that memory holds
those that were asked for, and may give them back.

The file: float32 (n, d) by rising id; the ids, int64 (n,); a trailer (magic, n, d, CRC-32 of the
rows, CRC-32 of the ids). Opening checks the size and the ids; rows are checked as they are used,
since an embedding has the length 1 (or 0), and all of them by `check`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cbir.index.derived import DerivedFileError, refused
from cbir.index.exact import exact_scores
from cbir.types import Ids, Vectors

_MAGIC = b"cbirvec1"
_TRAILER = struct.Struct("<8sQIII")
_BLOCK = 4096
_SPARSE = 2
"""A table from ids to rows is made where ids span at most so many times their number."""
_TOLERANCE = 1e-3
"""How far from 1 the length of a row may be."""


class VectorWriter:
    """Writes such a file, block by block; it takes its name when it is whole."""

    def __init__(self, path: str, dims: int) -> None:
        """Raises OperationFailedError where it cannot be written, here and in all methods."""
        self.path = path
        self.dims = dims
        self._ids: list[Ids] = []
        self._crc = 0
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._file: BinaryIO = open(path + ".new", "wb")  # noqa: SIM115 - closed by `finish`
        except OSError as error:
            raise refused(self.path, error) from None

    def append(self, ids: Ids, rows: Vectors) -> None:
        """The next ids, int64 (n,), rising from block to block, and float32 (n, d)."""
        if not len(ids):
            return
        data = np.ascontiguousarray(rows, "<f4").data.cast("B")
        self._crc = zlib.crc32(data, self._crc)
        self._ids.append(np.array(ids, "<i8"))
        try:
            self._file.write(data)
        except OSError as error:
            self.close()
            raise refused(self.path, error) from None

    def finish(self) -> None:
        """Ids, trailer, fsync, rename."""
        ids = np.concatenate([np.empty(0, "<i8"), *self._ids])
        data = ids.data.cast("B") if len(ids) else b""
        trailer = _TRAILER.pack(_MAGIC, len(ids), self.dims, self._crc, zlib.crc32(data))
        try:
            with self._file as file:
                file.write(data)
                file.write(trailer)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.path + ".new", self.path)
        except OSError as error:
            self.close()
            raise refused(self.path, error) from None

    def close(self) -> None:
        """Give up what is not finished."""
        self._file.close()
        if os.path.exists(self.path + ".new"):
            os.remove(self.path + ".new")


def write_vectors(path: str, dims: int, blocks: Iterable[tuple[Ids, Vectors]]) -> None:
    """Write such a file; blocks of rising ids. Raises OperationFailedError."""
    writer = VectorWriter(path, dims)
    try:
        for ids, rows in blocks:
            writer.append(ids, rows)
    except BaseException:
        writer.close()
        raise
    writer.finish()


def whole(rows: Vectors) -> bool:
    """Whether rows, float32 (n, d), have the length that embeddings have: 1, or 0."""
    lengths = np.einsum("nd,nd->n", rows, rows)
    off = ~(np.abs(lengths - 1) <= 2 * _TOLERANCE)  # also true for NaN
    return not off.any() or not lengths[off].any()


class VectorFile:
    """Such a file, open for reading; ids int64 (n,), rising; rows float32 (n, d), read-only."""

    def __init__(self, path: str) -> None:
        """Raises DerivedFileError where it cannot be trusted."""
        try:
            size = os.path.getsize(path)
            with open(path, "rb") as file:
                file.seek(max(0, size - _TRAILER.size))
                trailer = file.read()
                if len(trailer) < _TRAILER.size:
                    raise DerivedFileError("is torn")
                magic, n, dims, self._crc, crc = _TRAILER.unpack(trailer)
                if magic != _MAGIC or size != n * (4 * dims + 8) + _TRAILER.size:
                    raise DerivedFileError("is torn")
                file.seek(4 * n * dims)
                ids = file.read(8 * n)
            if zlib.crc32(ids) != crc:
                raise DerivedFileError("has not the checksum of its ids")
            rows = np.memmap(path, "<f4", "r", 0, (n, dims)) if n else np.empty((0, dims), "<f4")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DerivedFileError(f"cannot be read ({reason})") from None
        self.path = path
        self.dims = int(dims)
        self.ids: Ids = np.frombuffer(ids, "<i8")
        self.rows: Vectors = np.asarray(rows)  # a plain view of the map: quicker to index
        self._first = int(self.ids[0]) if len(self.ids) else 0
        self._table = self._places()

    def __len__(self) -> int:
        return len(self.ids)

    def _places(self) -> NDArray[np.signedinteger[Any]] | None:
        """Row of each id from the first one on, -1 where there is none; None: too sparse."""
        if not len(self.ids):
            return None
        span = int(self.ids[-1] - self.ids[0]) + 1
        if span > _SPARSE * len(self.ids):
            return None
        table: NDArray[np.signedinteger[Any]] = np.full(
            span, -1, np.int32 if len(self.ids) < 2**31 else np.int64
        )
        table[self.ids - self.ids[0]] = np.arange(len(self.ids))
        return table

    def places(self, ids: Ids) -> Ids:
        """The rows of these ids, int64, same shape; -1 where there is none."""
        if not len(self.ids):
            return np.full(ids.shape, -1, np.int64)
        if self._table is None:
            places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            return np.where(self.ids[places] == ids, places, -1)
        at = ids - self._first
        inside = (at >= 0) & (at < len(self._table))
        if inside.all():
            return self._table[at].astype(np.int64)
        return np.where(inside, self._table[np.where(inside, at, 0)], -1).astype(np.int64)

    def scores(self, queries: Vectors, ids: Ids) -> Vectors:
        """Inner products of each query with its own ids; NaN where an id is not there.

        queries float32 (q, d); ids int64 (q, m) → float32 (q, m). Nothing is copied.
        """
        return self.scores_at(queries, self.places(ids))

    def scores_at(self, queries: Vectors, places: Ids) -> Vectors:
        """The same for rows by their `places`, int64 (q, m)."""
        if not places.size or not len(self.ids):
            return np.full(places.shape, np.nan, np.float32)
        return exact_scores(queries, self.rows, places)

    def vectors_of(self, ids: Ids) -> Vectors:
        """A copy of the rows of these ids, float32 (m, d); NaN where an id is not there."""
        places = self.places(ids)
        found = np.take(self.rows, np.maximum(places, 0), axis=0) if len(self.ids) else np.empty(
            (len(ids), self.dims), np.float32)  # fmt: skip
        found[places < 0] = np.nan
        return found

    def sound(self, ids: Ids) -> bool:
        """Whether the rows of these ids have the length that embeddings have; below zero: none."""
        return self.sound_at(self.places(ids))

    def sound_at(self, places: Ids) -> bool:
        """The same for rows by their `places`; below zero: none."""
        wanted = places[places >= 0]
        return all(
            whole(self.rows[wanted[at : at + _BLOCK]]) for at in range(0, len(wanted), _BLOCK)
        )

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All ids and rows, 4,096 at most at a time, by id. Raises DerivedFileError after the last
        of them where the rows are not as they were written."""
        crc = 0
        for at in range(0, len(self.ids), _BLOCK):
            rows = self.rows[at : at + _BLOCK]
            crc = zlib.crc32(np.ascontiguousarray(rows, "<f4").data.cast("B"), crc)
            yield self.ids[at : at + _BLOCK], rows
        if crc != self._crc:
            raise DerivedFileError("has not the checksum of its rows")

    def check(self) -> bool:
        """Whether all rows are as they were written."""
        try:
            for _ in self.blocks():
                pass
        except DerivedFileError:
            return False
        return True
