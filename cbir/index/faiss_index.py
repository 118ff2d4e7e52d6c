"""Search with FAISS: one class for every index kind, under image ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import faiss
import numpy as np

from cbir.errors import UsageError
from cbir.index.kind import Kind
from cbir.index.kinds import KINDS, kind_of
from cbir.index.selectors import selector
from cbir.types import Ids, Vectors

_FAISS: Any = faiss  # its stub lacks some of it
_PART = 1 << 20
"""Bytes that FAISS reads or writes at a time."""


class FaissIndex:
    """A `VectorStore` in memory. Scores of a kind that is not exact are those of its codes."""

    def __init__(self, dims: int, kind: str = "flat", lists: int = 1, _index: Any = None) -> None:
        """An empty index for vectors of length `dims`; `train` it first unless it is exact."""
        self._owner: Any = None  # what a downcast pointer looks into must stay alive
        self._index = KINDS[kind].make(dims, lists) if _index is None else _index
        self._kind: Kind = kind_of(self._index)
        self._dead = 0
        if not self._kind.exact and len(self):
            self._dead = int((self._kind.ids(self._index) < 0).sum())

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return self._kind.name

    @property
    def exact(self) -> bool:
        """Whether its scores and answers are those of the vectors themselves."""
        return self._kind.exact

    @property
    def dims(self) -> int:
        """d."""
        return int(self._index.d)

    @property
    def dead(self) -> int:
        """Rows that were removed and still take space."""
        return self._dead

    @property
    def lists(self) -> int:
        """Coarse centroids, 0 where it has none."""
        return int(getattr(self._index, "nlist", 0))

    @property
    def effort(self) -> int:
        """The effort of searches (efSearch, nprobe); it is written with the index."""
        return self._kind.effort(self._index)

    @effort.setter
    def effort(self, value: int) -> None:
        self._kind.effort(self._index, value)

    @property
    def most(self) -> int:
        """The largest effort that changes anything."""
        return self._kind.most(self._index)

    def __len__(self) -> int:
        return int(self._index.ntotal) - self._dead

    def ids(self) -> Ids:
        """Int64 (n,), in the order of the rows."""
        ids = self._kind.ids(self._index)
        return ids[ids >= 0] if self._dead else ids

    def vectors(self) -> Vectors:
        """All rows, float32 (n, d), in the order of `ids`: lossy unless it is exact."""
        rows = np.empty((len(self), self.dims), np.float32)
        at = 0
        for _, block in self.blocks():
            rows[at : at + len(block)] = block
            at += len(block)
        return rows

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """The same in parts, with their ids: int64 (n,), float32 (n, d)."""
        for ids, rows in self._kind.blocks(self._index):
            alive = ids >= 0
            yield (ids, rows) if alive.all() else (ids[alive], rows[alive])

    def train(self, vectors: Vectors) -> None:
        """Learn ranges and centroids from a sample, float32 (m, d), m at least 1."""
        self._kind.train(self._index, np.ascontiguousarray(vectors, np.float32))

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add rows; UsageError where shapes do not fit."""
        if vectors.shape != (len(ids), self.dims):
            raise UsageError(
                f"vectors: expected shape ({len(ids)}, {self.dims}); received {vectors.shape}."
            )
        if len(ids):
            rows = np.ascontiguousarray(vectors, np.float32)
            self._kind.add(self._index, np.ascontiguousarray(ids, np.int64), rows)

    def remove(self, ids: Ids) -> int:
        """Remove these ids; how many were there."""
        if not len(ids) or not len(self):
            return 0
        before = int(self._index.ntotal)
        gone = self._kind.remove(self._index, np.unique(ids))
        self._dead += gone - (before - int(self._index.ntotal))
        return gone

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Ids | None = None,
        excluded: Ids | None = None,
        scale: float = 1.0,
    ) -> tuple[Vectors, Ids]:
        """See `VectorStore.search`. `scale` multiplies the effort; infinite: every row that
        is allowed is looked at."""
        return sort_hits(*self.candidates(queries, k, allowed, excluded, scale))

    def candidates(
        self,
        queries: Vectors,
        k: int,
        allowed: Ids | None = None,
        excluded: Ids | None = None,
        scale: float = 1.0,
    ) -> tuple[Vectors, Ids]:
        """As `search`, in FAISS's own order: equal scores come as they may, -1 last."""
        k = min(k, len(self))
        if k == 0 or not len(queries):
            empty = (len(queries), 0)
            return np.empty(empty, np.float32), np.empty(empty, np.int64)
        keep: list[Any] = []
        chosen = selector(allowed, excluded, keep, living=self._dead > 0)
        rows = np.ascontiguousarray(queries, np.float32)
        scores, ids = self._kind.search(self._index, rows, k, chosen, scale)
        scores[ids < 0] = -np.inf
        return scores, ids

    def to_bytes(self) -> memoryview:
        """FAISS's own serial form (Python writes it, since FAISS cannot open every path)."""
        data: memoryview = faiss.serialize_index(self._index).data
        return data

    def write(self, write: Callable[[bytes], object]) -> None:
        """The same form in parts, without a copy of all of it. OSError where `write` raises it."""
        failed: list[OSError] = []

        def part(data: bytes) -> None:
            if not failed:
                try:
                    write(data)
                except OSError as error:
                    failed.append(error)

        writer = _FAISS.PyCallbackIOWriter(part, _PART)
        faiss.write_index(self._index, writer)
        del writer  # it holds the last part back until then
        if failed:
            raise failed[0]

    @classmethod
    def read(cls, read: Callable[[int], bytes]) -> Self:
        """The inverse, by what reads so many bytes; ValueError where they are not one of ours."""
        failed: list[OSError] = []

        def part(size: int) -> bytes:
            try:
                return read(size)
            except OSError as error:
                failed.append(error)
                return b""

        try:
            owner = faiss.read_index(_FAISS.PyCallbackIOReader(part, _PART))
        except RuntimeError as error:
            if failed:
                raise failed[0] from None
            raise ValueError(str(error).splitlines()[0]) from None
        return cls._of(owner)

    @classmethod
    def mapped(cls, path: str) -> Self | None:
        """The index in a file, its lists left there: it can be searched, not changed. None where
        its kind has no lists, or FAISS cannot open a file of that name."""
        try:
            found = cls._of(faiss.read_index(path, faiss.IO_FLAG_MMAP))
        except (RuntimeError, ValueError, UnicodeError, TypeError):
            return None
        return found if found.on_disk else None

    @property
    def on_disk(self) -> bool:
        """Whether its lists lie in a file."""
        lists = getattr(self._index, "invlists", None)
        return lists is not None and isinstance(
            faiss.downcast_InvertedLists(lists), _FAISS.OnDiskInvertedLists
        )

    @classmethod
    def _of(cls, owner: Any) -> Self:
        index = faiss.downcast_index(owner)
        made = cls(int(index.d), _index=index)
        made._owner = owner
        return made

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """The inverse; ValueError where the bytes are not an index of one of our kinds."""
        try:
            owner = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from None
        return cls._of(owner)


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS computes on one core within: what a search costs, without waiting for other threads.

    On a machine that is busy, a search of 0.06 ms took 8 ms, since OpenMP waited for a thread that
    was not running.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def sort_hits(scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """Each row by falling score, equal scores by id; -1 last. Inputs stay as they are."""
    scores, ids = in_order(hit_order(scores, ids), scores, ids)
    return scores, ids


def in_order(order: Ids, *arrays: Any) -> tuple[Any, ...]:
    """Each row of the arrays, (q, m), by its order, int64 (q, m)."""
    if len(order) == 1:  # the usual case, in a third of the time
        return tuple(array[:, order[0]] for array in arrays)
    return tuple(np.take_along_axis(array, order, 1) for array in arrays)


def hit_order(scores: Vectors, ids: Ids) -> Ids:
    """The order of each row's hits, int64 (q, m): by falling score, equal ones by id, -1 last."""
    last = np.where(ids < 0, np.iinfo(np.int64).max, ids)
    return np.asarray(np.lexsort((last, -scores), axis=1), np.int64)
