"""Index kind `hnsw`: a graph of near neighbours over vectors of one byte a dimension (`codes.py`).

Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs (TPAMI 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from cbir.index.codes import cosines, decode, encode
from cbir.index.flat import mapped_blocks, mapped_ids
from cbir.types import Ids, Vectors

LINKS = 16
"""Neighbours of a node on each level above the lowest, which has twice as many (M)."""
BUILD_EFFORT = 80
"""efConstruction."""
_FAISS: Any = faiss  # its stub lacks some of it
MOST = 2048
"""efSearch, at most: beyond, a scan of all rows is as quick."""


class Hnsw:
    """`IndexIDMap2(IndexHNSWSQ)` of whole numbers, by their distances. A row cannot be taken out:
    its id becomes -1 - id, and it stays as a stepping stone until the graph is built again."""

    name = "hnsw"
    exact = False
    knob = "efSearch"

    def make(self, dims: int, lists: int) -> Any:
        """See `Kind.make`."""
        graph = _FAISS.IndexHNSWSQ(
            dims, faiss.ScalarQuantizer.QT_8bit_direct, LINKS, faiss.METRIC_L2
        )
        graph.hnsw.efConstruction = BUILD_EFFORT
        made = faiss.IndexIDMap2(graph)
        made.own_fields = True
        graph.this.disown()
        return made

    def train(self, index: Any, rows: Vectors) -> None:
        """See `Kind.train`: there is nothing to learn."""

    def add(self, index: Any, ids: Ids, rows: Vectors) -> None:
        """See `Kind.add`."""
        index.add_with_ids(self.coded(rows), ids)

    def coded(self, rows: Vectors) -> Vectors:
        """See `Kind.coded`."""
        return encode(rows)

    def holds(self, index: Any) -> bool:
        """See `Kind.holds`."""
        if not isinstance(index, faiss.IndexIDMap2):
            return False
        graph: Any = faiss.downcast_index(index.index)
        if not isinstance(graph, faiss.IndexHNSWSQ):
            return False
        codes: Any = faiss.downcast_index(graph.storage)
        return bool(codes.sq.qtype == faiss.ScalarQuantizer.QT_8bit_direct)

    def ids(self, index: Any) -> Ids:
        """See `Kind.ids`."""
        return mapped_ids(index)

    def remove(self, index: Any, ids: Ids) -> int:
        """See `Kind.remove`: the rows are dead from now on."""
        found = mapped_ids(index)
        gone = np.isin(found, ids) & (found >= 0)
        found[gone] = -1 - found[gone]
        faiss.copy_array_to_vector(found, index.id_map)
        index.construct_rev_map()
        return int(gone.sum())

    def effort(self, index: Any, value: int | None = None) -> int:
        """See `Kind.effort`: efSearch."""
        graph: Any = faiss.downcast_index(index.index)
        if value is not None:
            graph.hnsw.efSearch = value
        return int(graph.hnsw.efSearch)

    def most(self, index: Any) -> int:
        """See `Kind.most`."""
        return max(1, min(MOST, int(index.ntotal)))

    def search(
        self, index: Any, queries: Vectors, k: int, selector: Any, scale: float
    ) -> tuple[Vectors, Ids]:
        """See `Kind.search`; every row: all stored codes, without the graph."""
        asked = self.coded(queries)
        if not math.isinf(scale):
            wide = min(MOST, math.ceil(scale * self.effort(index)))
            parameters = _FAISS.SearchParametersHNSW(efSearch=max(k, wide), sel=selector)
            distances, ids = index.search(asked, k, params=parameters)
            return cosines(distances, index.d), ids
        graph: Any = faiss.downcast_index(index.index)
        codes = faiss.downcast_index(graph.storage)
        inner = None if selector is None else faiss.IDSelectorTranslated(index.id_map, selector)
        distances, rows = codes.search(
            asked, k, params=None if inner is None else _FAISS.SearchParameters(sel=inner)
        )
        ids = np.where(rows < 0, -1, mapped_ids(index)[rows])
        return cosines(distances, index.d), ids

    def blocks(self, index: Any) -> Iterator[tuple[Ids, Vectors]]:
        """See `Kind.blocks`."""
        for ids, rows in mapped_blocks(index):
            yield ids, decode(rows)
