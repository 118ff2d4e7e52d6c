"""Reading, embedding and storing at the same time, with bounded queues between them.

While one batch is embedded in a thread of its own, the one before it is stored, and the next ones
are decoded. At most two batches are between decoding and storing, so memory does not depend on how
many there are, and a slow stage holds the faster ones back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np

from cbir.catalog import NewContent
from cbir.config import FeatureExtractor
from cbir.images import Batch
from cbir.types import LoadedImage

Begin = Callable[[Batch, Collection[bytes]], Callable[[], list[NewContent]]]
"""Batch, contents that are being embedded already → what embeds the rest (in the other thread)."""


def new_contents(embedder: FeatureExtractor, images: Sequence[LoadedImage]) -> list[NewContent]:
    """Embed pictures together, for storing."""
    pixels = np.stack([image.pixels for image in images if image.pixels is not None])
    features = embedder.features(pixels)
    return [
        NewContent(image.content, image.width, image.height, image.format, feature)
        for image, feature in zip(images, features, strict=True)
    ]


@dataclass(slots=True)
class Stages:
    """Where the time of a run went, in seconds.

    scan_s    looking for files, and comparing them with the catalog
    decode_s  reading and decoding: computing of all threads together
    embed_s   the embedding thread at work, on whatever cores it uses
    write_s   storing
    wait_for_decode_s, wait_for_embed_s
              nothing was left to store, and the one or the other was waited for
    derive_s  fitting the projection, and making the searchable index
    """

    scan_s: float = 0.0
    decode_s: float = 0.0
    embed_s: float = 0.0
    write_s: float = 0.0
    wait_for_decode_s: float = 0.0
    wait_for_embed_s: float = 0.0
    derive_s: float = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds within to this stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)


class Overlap:
    """Iterates over batches with their new features, in order; the next one is embedded meanwhile.

    `begin` is called in the caller's thread, in order, before the batches ahead are stored. Leaving
    the context ends the threads.
    """

    def __init__(self, batches: Iterator[Batch], begin: Begin, stages: Stages) -> None:
        self._batches, self._begin, self._stages = batches, begin, stages
        self._thread = ThreadPoolExecutor(1, "cbir-embed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def __iter__(self) -> Iterator[tuple[Batch, list[NewContent]]]:
        waiting: tuple[Batch, Future[list[NewContent]]] | None = None
        ahead: frozenset[bytes] = frozenset()
        while (batch := self._next()) is not None:
            work = self._begin(batch, ahead)
            ahead = frozenset(image.content for image in batch.images)
            following = (batch, self._thread.submit(self._embed, work))
            if waiting is not None:
                yield self._done(*waiting)
            waiting = following
        if waiting is not None:
            yield self._done(*waiting)

    def _next(self) -> Batch | None:
        with self._stages.timed("wait_for_decode_s"):
            batch = next(self._batches, None)
        if batch is not None:
            self._stages.decode_s += batch.cpu_s
        return batch

    def _embed(self, work: Callable[[], list[NewContent]]) -> list[NewContent]:
        with self._stages.timed("embed_s"):
            return work()

    def _done(
        self, batch: Batch, future: Future[list[NewContent]]
    ) -> tuple[Batch, list[NewContent]]:
        with self._stages.timed("wait_for_embed_s"):
            return batch, future.result()
