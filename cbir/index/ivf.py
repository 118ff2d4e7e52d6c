"""Index kind `ivf`: vectors in lists by their nearest centroid, one byte a dimension.

Jégou, Douze and Schmid, Product quantization for nearest neighbor search (TPAMI 2011), section IV,
for the inverted lists; the residual to the centroid is kept in 8 bits a dimension.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import faiss
import numpy as np

from cbir.types import Ids, Vectors

SPAN = 2.0
"""Codes of one byte span at least ± this many times 1/√d in each dimension, whatever the training
rows do: images that come later may lie where those had nothing. It costs .0001 of a cosine."""


def widen(codes: Any, dims: int) -> None:
    """Let a trained scalar quantiser (lowest value and span of each dimension) reach `SPAN`."""
    ranges = faiss.vector_to_array(codes.trained).copy()
    low, high = ranges[:dims], ranges[:dims] + ranges[dims:]
    reach = np.float32(SPAN / np.sqrt(dims))
    low, high = np.minimum(low, -reach), np.maximum(high, reach)
    faiss.copy_array_to_vector(np.concatenate((low, high - low)), codes.trained)


class Ivf:
    """`IndexIVFScalarQuantizer`: it keeps ids itself (FAISS's id map loses track of them when rows
    go from inverted lists)."""

    name = "ivf"
    exact = False
    knob = "nprobe"
    codes: ClassVar[str] = "SQ8"
    made: ClassVar[type] = faiss.IndexIVFScalarQuantizer

    def make(self, dims: int, lists: int) -> Any:
        """See `Kind.make`."""
        made: Any = faiss.index_factory(
            dims, f"IVF{lists},{self.codes}", faiss.METRIC_INNER_PRODUCT
        )
        made.cp.min_points_per_centroid = 1  # how many there are is the planner's business
        return made

    def train(self, index: Any, rows: Vectors) -> None:
        """See `Kind.train`."""
        index.train(rows)
        if hasattr(index, "sq"):
            widen(index.sq, index.d)

    def holds(self, index: Any) -> bool:
        """See `Kind.holds`."""
        return type(index) is self.made

    def ids(self, index: Any) -> Ids:
        """See `Kind.ids`: list by list."""
        lists, found = index.invlists, [np.empty(0, np.int64)]
        for number in range(index.nlist):
            size = int(lists.list_size(number))
            if size:
                found.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
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
        scores, ids = index.search(queries, k, params=made(nprobe=probes, sel=selector))
        return scores, ids

    def decode(self, index: Any) -> Vectors:
        """See `Kind.decode`."""
        rows = np.empty((int(index.ntotal), int(index.d)), np.float32)
        at = 0
        for number in range(index.nlist):
            for offset in range(int(index.invlists.list_size(number))):
                index.reconstruct_from_offset(number, offset, faiss.swig_ptr(rows[at]))
                at += 1
        return rows
