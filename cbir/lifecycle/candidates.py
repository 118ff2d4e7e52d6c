"""Features of another embedder beside the live ones: what must be there before a swap.

Features are kept by content and embedder, so both lie in one catalog. Each batch is one
transaction: a run that was killed goes on from what it stored, and nothing that a query reads is
touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cbir.catalog import CatalogWriter, EmbedderRow, FileRow
from cbir.config import EmbedderSpec, FeatureExtractor
from cbir.images import Batch, LoadOptions, load
from cbir.images.decode import MAX_PIXELS
from cbir.lifecycle.embedders import drop_saved, keep_embedder
from cbir.lifecycle.overlap import new_contents
from cbir.types import Failure, ImageRef, LoadedImage

CHANGED = "has changed since it was indexed"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an embedder's features cover of the gallery.

    `embedded` different pictures were embedded just now; `lost` are the images that could not be,
    by id, with the reasons.
    """

    embedded: int
    lost: dict[int, Failure]


@dataclass(frozen=True, slots=True)
class Reading:
    """How pictures are read again: how many at a time, and how large they may be in memory."""

    batch_size: int = 32
    max_pixels: int = MAX_PIXELS


def register(catalog: CatalogWriter, embedder: FeatureExtractor) -> EmbedderRow:
    """Note an embedder in the index, saved where it is not a stock one; its row."""
    keep_embedder(catalog.index, embedder)
    with catalog.writing():
        catalog.add_embedder(embedder.fingerprint, embedder.spec.canonical(), embedder.feature_dims)
    row = catalog.embedder(embedder.fingerprint)
    assert row is not None
    return row


def cover(
    catalog: CatalogWriter,
    row: EmbedderRow,
    embedder: Callable[[], FeatureExtractor],
    reading: Reading,
    advance: Callable[[int], None] = lambda _: None,
) -> Coverage:
    """Embed every picture of the gallery that has no feature by this embedder.

    `embedder` is called where there is one, and only then. A picture that lies in several files is
    read from the first that can be read. `advance` is told of different pictures.
    """
    files = by_content(catalog, row)
    indexed = {(f.root, f.path): f.content for copies in files.values() for f in copies}
    made, reasons = 0, dict[bytes, Failure]()
    turn = 0
    while todo := [copies[turn] for copies in files.values() if turn < len(copies)]:
        for batch in _loaded(todo, embedder().spec, reading):
            fresh = _wanted(batch, indexed, reasons)
            _store(catalog, row, embedder(), fresh)
            for image in fresh:
                del files[image.content]
                reasons.pop(image.content, None)
            made += len(fresh)
            advance(len(fresh))
        turn += 1
    advance(len(files))
    lost = {
        image: reasons[content]
        for content, copies in files.items()
        for image in catalog.ids_of_content(copies[0].content)
    }
    return Coverage(made, lost)


def by_content(catalog: CatalogWriter, row: EmbedderRow) -> dict[bytes, list[FileRow]]:
    """The contents of the gallery that this embedder has not seen, with their files."""
    missing = catalog.without_feature(row.id)
    files: dict[bytes, list[FileRow]] = {}
    for file in catalog.rows(missing):
        files.setdefault(file.content, []).append(file)
    return files


def _loaded(files: list[FileRow], spec: EmbedderSpec, reading: Reading) -> Iterator[Batch]:
    refs = [ImageRef(file.root, file.path, 0, 0) for file in files]
    options = LoadOptions(spec=spec, batch_size=reading.batch_size, max_pixels=reading.max_pixels)
    return load(refs, options)


def _wanted(
    batch: Batch, indexed: dict[tuple[str, str], bytes], reasons: dict[bytes, Failure]
) -> list[LoadedImage]:
    """The pictures of a batch that are still what was indexed; notes why others are not."""
    fresh: dict[bytes, LoadedImage] = {}
    for image in batch.images:
        content = indexed.get((image.ref.root, image.ref.path))
        if content == image.content and image.pixels is not None:
            fresh[content] = image
        elif content is not None:
            reasons[content] = Failure(image.ref.file, CHANGED, passing=True)
    for ref, failure in batch.failures:
        reasons[indexed[ref.root, ref.path]] = failure
    return list(fresh.values())


def _store(
    catalog: CatalogWriter, row: EmbedderRow, embedder: FeatureExtractor, images: list[LoadedImage]
) -> None:
    if not images:
        return
    contents = new_contents(embedder, images)
    with catalog.writing():
        catalog.put_contents(row.id, contents)


def drop_others(catalog: CatalogWriter, *also: EmbedderRow) -> int:
    """Drop embedders that are neither live nor the former one nor one of these; how many."""
    former = catalog.former()
    kept = {row.id for row in also}
    kept |= {row.id for row in (catalog.embedder(),) if row is not None}
    kept |= {former.embedder} if former is not None and former.embedder is not None else set()
    with catalog.writing():
        catalog.drop_unfinished()
        gone = catalog.drop_embedders(kept)
    drop_saved(catalog.index, [row.fingerprint for row in catalog.embedders()])
    return len(gone)
