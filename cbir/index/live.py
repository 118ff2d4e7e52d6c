"""The searchable index of one generation: a derived file, newer rows beside it, a mask."""

from __future__ import annotations

import numpy as np

from cbir.index.faiss_index import FaissIndex, sort_hits
from cbir.types import Ids, Vectors


class LiveIndex:
    """A base that is not changed, a delta that is searched exactly, and a mask.

    `seq` is the catalog's seq up to which all of it is true.
    """

    def __init__(self, base: FaissIndex, seq: int) -> None:
        self.base = base
        self.delta = FaissIndex(base.dims)
        self.seq = seq
        self._masked: Ids = np.empty(0, np.int64)
        self._base_ids = np.sort(base.ids())

    def __len__(self) -> int:
        return len(self.base) - len(self._masked) + len(self.delta)

    @property
    def dims(self) -> int:
        """d."""
        return self.base.dims

    @property
    def pending(self) -> int:
        """Changes that the base does not hold: delta rows and masked rows."""
        return len(self.delta) + len(self._masked)

    def update(self, removed: Ids, ids: Ids, vectors: Vectors, seq: int) -> None:
        """Take in the changes up to `seq`: ids that went, and new or changed rows.

        removed int64 (m,); ids int64 (n,), vectors float32 (n, d).
        """
        stale = np.union1d(removed, ids)
        self.delta.remove(stale)
        in_base = np.intersect1d(stale, self._base_ids, assume_unique=True)
        self._masked = np.union1d(self._masked, in_base)
        self.delta.add(ids, vectors)
        self.seq = seq

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, excluded: Ids | None = None
    ) -> tuple[Vectors, Ids]:
        """See `VectorStore.search`."""
        hidden = self._masked if excluded is None else np.union1d(self._masked, excluded)
        old = self.base.search(queries, k, allowed, hidden)
        new = self.delta.search(queries, k, allowed, excluded)
        scores, ids = sort_hits(
            np.concatenate((old[0], new[0]), axis=1), np.concatenate((old[1], new[1]), axis=1)
        )
        return scores[:, :k], ids[:, :k]

    def merged(self) -> FaissIndex:
        """Base, delta and mask as one index, rows in the order of their ids."""
        ids = np.concatenate((self.base.ids(), self.delta.ids()))
        vectors = np.concatenate((self.base.vectors(), self.delta.vectors()))
        keep = np.ones(len(ids), bool)
        keep[: len(self.base)] = ~np.isin(self.base.ids(), self._masked)
        ids, vectors = ids[keep], vectors[keep]
        order = np.argsort(ids)
        whole = FaissIndex(self.dims)
        whole.add(ids[order], vectors[order])
        return whole
