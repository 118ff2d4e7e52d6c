"""What an index kind is, whatever FAISS index is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from cbir.types import Ids, Vectors


class Kind(Protocol):
    """One way to keep and search unit vectors; `index` below is FAISS's own object.

    The effort of a search is its one knob (efSearch, nprobe); FAISS writes it with the index.
    """

    name: str
    exact: bool
    knob: str
    """FAISS's name of the knob, "" where there is none."""

    def make(self, dims: int, lists: int) -> Any:
        """An empty index for vectors of this length; `lists`: coarse centroids, where it has any.

        It takes ids with its vectors, and is to be trained first where `exact` is false.
        """
        ...

    def train(self, index: Any, rows: Vectors) -> None:
        """Learn ranges and centroids from a sample, float32 (m, d), m at least 1."""
        ...

    def add(self, index: Any, ids: Ids, rows: Vectors) -> None:
        """Add unit rows, float32 (n, d), C order, under new ids, int64 (n,)."""
        ...

    def coded(self, rows: Vectors) -> Vectors:
        """Unit rows as FAISS's index takes them, float32 (n, d)."""
        ...

    def holds(self, index: Any) -> bool:
        """Whether an index that was read is of this kind."""
        ...

    def ids(self, index: Any) -> Ids:
        """The ids in the order of the rows, int64 (n,); below zero: the row is dead."""
        ...

    def remove(self, index: Any, ids: Ids) -> int:
        """Take ids out, int64 (m,) unique; how many were there."""
        ...

    def effort(self, index: Any, value: int | None = None) -> int:
        """The effort of searches; `value` sets it."""
        ...

    def most(self, index: Any) -> int:
        """The largest effort that changes anything."""
        ...

    def search(
        self, index: Any, queries: Vectors, k: int, selector: Any, scale: float
    ) -> tuple[Vectors, Ids]:
        """The k nearest by what the index holds: scores (q, k), ids (q, k), -1 where none.

        `selector` chooses ids, or is None; `scale` multiplies the effort, infinite: every row that
        it chooses is looked at.
        """
        ...

    def blocks(self, index: Any) -> Iterator[tuple[Ids, Vectors]]:
        """What the rows stand for, in the order of `ids`, some thousands at a time: their ids,
        int64 (n,), and float32 (n, d), lossy unless exact."""
        ...
