"""Index kind `pq`: lists as `ivf` has them, vectors of one bit a dimension.

Gao and Long, RaBitQ: Quantizing high-dimensional vectors with a theoretical error bound (SIGMOD
2024). Such codes only preselect: many candidates are taken, and their stored features decide.
"""

from __future__ import annotations

from typing import Any

import faiss

from cbir.index.ivf import Ivf
from cbir.types import Vectors


class Pq(Ivf):
    """`IndexIVFRaBitQ`: at d = 256, 40 bytes a code. The name is what people look for when vectors
    are to take little memory; product quantisation itself gave less recall for as many bytes."""

    name = "pq"

    def make(self, dims: int, lists: int) -> Any:
        """See `Kind.make`."""
        made: Any = faiss.index_factory(dims, f"IVF{lists},RaBitQ", faiss.METRIC_INNER_PRODUCT)
        made.cp.min_points_per_centroid = 1
        return made

    def coded(self, rows: Vectors) -> Vectors:
        """FAISS makes bits of them itself."""
        return rows

    def scored(self, found: Vectors, dims: int) -> Vectors:
        """They are inner products."""
        return found

    def decoded(self, rows: Vectors) -> Vectors:
        """FAISS has done it."""
        return rows

    def holds(self, index: Any) -> bool:
        """See `Kind.holds`."""
        return type(index) is faiss.IndexIVFRaBitQ
