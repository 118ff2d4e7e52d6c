"""Embedding beside storing: order, what is embedded once, how far it runs ahead, what fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

import numpy as np
import pytest

from cbir.catalog import NewContent
from cbir.images import Batch
from cbir.lifecycle.overlap import Overlap, Stages, new_contents
from cbir.types import ImageRef, LoadedImage
from tests.conftest import GridEmbedder


def batch(*contents: bytes) -> Batch:
    pixels = np.zeros((32, 32, 3), np.uint8)
    images = [LoadedImage(ImageRef("", "x", 0, 0), c, pixels, 1, 1, "PNG") for c in contents]
    return Batch(tuple(images), (), cpu_s=0.5)


def new(content: bytes) -> NewContent:
    return NewContent(content, 1, 1, "PNG", np.zeros(4, np.float32))


class Job:
    """Notes what is asked of it, and in which thread."""

    def __init__(self) -> None:
        self.begun: list[tuple[tuple[bytes, ...], frozenset[bytes]]] = []
        self.threads: set[str] = set()

    def begin(self, part: Batch, ahead: Collection[bytes]) -> Callable[[], list[NewContent]]:
        contents = tuple(image.content for image in part.images)
        self.begun.append((contents, frozenset(ahead)))

        def work() -> list[NewContent]:
            self.threads.add(threading.current_thread().name)
            return [new(c) for c in contents]

        return work


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_batches_come_in_order_with_what_was_embedded(n: int) -> None:
    job, stages = Job(), Stages()
    parts = [batch(bytes([i]), bytes([i + 100])) for i in range(n)]
    with Overlap(iter(parts), job.begin, stages) as batches:
        found = list(batches)
    assert [part for part, _ in found] == parts
    assert [[c.hash for c in made] for _, made in found] == [
        [image.content for image in part.images] for part in parts
    ]
    assert [ahead for _, ahead in job.begun[:2]] == [frozenset(), frozenset({b"\0", b"d"})][:n]
    assert stages.decode_s == 0.5 * n and threading.current_thread().name not in job.threads


def test_at_most_two_are_between_reading_and_storing() -> None:
    job, read = Job(), list[int]()

    def source() -> Iterator[Batch]:
        for i in range(6):
            read.append(i)
            yield batch(bytes([i]))

    with Overlap(source(), job.begin, Stages()) as batches:
        for stored, _ in enumerate(batches):
            assert len(read) <= stored + 2 and len(job.begun) <= stored + 2


def test_a_failure_of_embedding_comes_out_and_ends_it() -> None:
    closed = []

    def source() -> Iterator[Batch]:
        try:
            for i in range(6):
                yield batch(bytes([i]))
        finally:
            closed.append(True)

    def begin(part: Batch, ahead: Collection[bytes]) -> Callable[[], list[NewContent]]:
        def work() -> list[NewContent]:
            if part.images[0].content == b"\2":
                raise RuntimeError("no")
            return []

        return work

    stored = 0
    with pytest.raises(RuntimeError, match="no"), Overlap(source(), begin, Stages()) as batches:
        for _ in batches:
            stored += 1
    assert stored == 2 and closed == [True]
    assert not [t for t in threading.enumerate() if t.name.startswith("cbir-embed")]


def test_new_contents_are_features_of_their_pictures() -> None:
    grid = GridEmbedder()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    images = [LoadedImage(ImageRef("", "x", 0, 0), bytes([i]), p, 7, 9, "PNG")
              for i, p in enumerate(pixels)]  # fmt: skip
    made = new_contents(grid, images)
    assert [(c.hash, c.width, c.height) for c in made] == [(b"\0", 7, 9), (b"\1", 7, 9)]
    np.testing.assert_array_equal([c.feature for c in made], grid.features(pixels))
