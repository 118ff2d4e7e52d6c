"""Index kind `ivf`: vectors in lists by their nearest centroid, one byte a dimension.

Jégou, Douze and Schmid, Product quantization for nearest neighbor search (TPAMI 2011), section IV,
for the inverted lists; not the residual to the centroid is kept, but the vector, in 8 bits a
dimension, since whole numbers are compared half as fast again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from cbir.index import codes
from cbir.index.flat import BLOCK
from cbir.types import Ids, Vectors


class Ivf:
    """`IndexIVFScalarQuantizer` of whole numbers (`codes.py`), by their distances. It keeps ids
    itself (FAISS's id map loses track of them when rows go from inverted lists)."""

    name = "ivf"
    exact = False
    knob = "nprobe"

    def make(self, dims: int, lists: int) -> Any:
        """See `Kind.make`."""
        centroids: Any = faiss.IndexFlatL2(dims)
        made: Any = faiss.IndexIVFScalarQuantizer(
            centroids, dims, lists, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2, False
        )
        made.own_fields = True
        centroids.this.disown()
        made.cp.min_points_per_centroid = 1  # how many there are is the planner's business
        return made

    def coded(self, rows: Vectors) -> Vectors:
        """Unit rows as the index takes them, float32 (n, d)."""
        return codes.encode(rows)

    def scored(self, found: Vectors, dims: int) -> Vectors:
        """What the index says of rows, as cosines, about; float32 (q, k)."""
        return codes.cosines(found, dims)

    def decoded(self, rows: Vectors) -> Vectors:
        """The inverse of `coded`, but for rounding."""
        return codes.decode(rows)

    def train(self, index: Any, rows: Vectors) -> None:
        """See `Kind.train`."""
        index.train(self.coded(rows))

    def add(self, index: Any, ids: Ids, rows: Vectors) -> None:
        """See `Kind.add`."""
        index.add_with_ids(self.coded(rows), ids)

    def holds(self, index: Any) -> bool:
        """See `Kind.holds`."""
        return (
            type(index) is faiss.IndexIVFScalarQuantizer
            and index.sq.qtype == faiss.ScalarQuantizer.QT_8bit_direct
        )

    def ids(self, index: Any) -> Ids:
        """See `Kind.ids`: list by list."""
        lists, found = index.invlists, [np.empty(0, np.int64)]
        for number in range(index.nlist):
            size = int(lists.list_size(number))
            if size:
                found.append(_ids_of(lists, number, size))
        return np.concatenate(found)

    def remove(self, index: Any, ids: Ids) -> int:
        """See `Kind.remove`."""
        selector: Any = faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64))
        return int(index.remove_ids(selector))

    def effort(self, index: Any, value: int | None = None) -> int:
        """See `Kind.effort`: nprobe."""
        if value is not None:
            index.nprobe = value
        return int(index.nprobe)

    def most(self, index: Any) -> int:
        """See `Kind.most`: all lists."""
        return int(index.nlist)

    def search(
        self, index: Any, queries: Vectors, k: int, selector: Any, scale: float
    ) -> tuple[Vectors, Ids]:
        """See `Kind.search`; every row: all lists."""
        made: Any = faiss.SearchParametersIVF
        probes = math.ceil(min(self.most(index), scale * self.effort(index)))
        asked = self.coded(queries)
        found, ids = index.search(asked, k, params=made(nprobe=probes, sel=selector))
        return self.scored(found, index.d), ids

    def blocks(self, index: Any) -> Iterator[tuple[Ids, Vectors]]:
        """See `Kind.blocks`: list by list."""
        ids: list[Ids] = []
        rows: list[Vectors] = []
        for number in range(index.nlist):
            size = int(index.invlists.list_size(number))
            part = np.empty((size, int(index.d)), np.float32)
            for offset in range(size):
                index.reconstruct_from_offset(number, offset, faiss.swig_ptr(part[offset]))
            if size:
                ids.append(_ids_of(index.invlists, number, size))
                rows.append(part)
            if rows and (sum(map(len, rows)) >= BLOCK or number == index.nlist - 1):
                yield np.concatenate(ids), self.decoded(np.concatenate(rows))
                ids, rows = [], []


def _ids_of(lists: Any, number: int, size: int) -> Ids:
    """A copy: what FAISS gives looks into its own memory."""
    return np.array(faiss.rev_swig_ptr(lists.get_ids(number), size), np.int64)
