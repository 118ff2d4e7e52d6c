"""What every vector store can do, whatever engine is behind it."""

from __future__ import annotations

from typing import Protocol

from cbir.types import Ids, Vectors


class VectorStore(Protocol):
    """Unit vectors under image ids, searched by cosine; larger is nearer.

    Rows are float32 (n, d), C order, unit length; ids are int64 (n,) and unique.
    """

    @property
    def dims(self) -> int:
        """d."""
        ...

    def __len__(self) -> int:
        """How many vectors."""
        ...

    def ids(self) -> Ids:
        """All ids, in the store's order."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add rows under ids that are not there yet."""
        ...

    def remove(self, ids: Ids) -> int:
        """Remove these ids; how many were there."""
        ...

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, excluded: Ids | None = None
    ) -> tuple[Vectors, Ids]:
        """The k nearest of each query, filtered inside the search.

        queries float32 (q, d) → scores float32 (q, k'), ids int64 (q, k'), by falling score, equal
        scores by id; k' = min(k, len). Where fewer fit, ids end with -1 and scores with -inf.
        `allowed`: only these ids (None: all); `excluded`: never these.
        """
        ...
