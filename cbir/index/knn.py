"""Each image's nearest others, a block of images at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from cbir.types import Ids, Vectors


class Searchable(Protocol):
    """What can be searched: a `FaissIndex` or a `LiveIndex`."""

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, excluded: Ids | None = None
    ) -> tuple[Vectors, Ids]:
        """See `VectorStore.search`."""
        ...


def neighbours(
    store: Searchable, ids: Ids, vectors_of: Callable[[Ids], Vectors], k: int, block: int = 1024
) -> Iterator[tuple[Ids, Vectors, Ids]]:
    """The k nearest other images of these images: the k-NN graph of a gallery.

    ids int64 (n,); vectors_of gives their embeddings, float32 (b, d) for b ids. Yields, for each
    block, ids int64 (b,), scores float32 (b, k') and neighbours int64 (b, k'), as
    `VectorStore.search` has them, each image itself left out by its id; k' is k, or less where
    there are fewer. Beside the index, a block's vectors and answers are held, and no more.
    """
    for at in range(0, len(ids), block):
        own = ids[at : at + block]
        scores, found = store.search(vectors_of(own), k + 1)
        mine = found == own[:, None]
        if found.shape[1]:
            mine[~mine.any(axis=1), -1] = True  # as many copies as hits: the last of them goes
        shape = (len(own), max(0, found.shape[1] - 1))
        yield own, scores[~mine].reshape(shape), found[~mine].reshape(shape)
