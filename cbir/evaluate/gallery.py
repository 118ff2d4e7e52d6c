"""A gallery to measure on, of an index or of files: its contents, features, search and files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed import Projection, fit_gallery
from cbir.evaluate.embedding import Embedded, embed_files
from cbir.evaluate.fitting import fitted
from cbir.query import Index
from cbir.types import Failure, Ids, Vectors

_IN_MEMORY = 8_192
"""Features of an index that are read once, at most; of a larger one they are read when asked."""
_BLOCK = 64
"""Queries searched at a time: bounds memory at 64 x n scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Pictures by content: a file that is there twice is one row.

    name      for people
    keys      the contents' hashes, one a row
    files     a file of each content, absolute
    embedder  what made the features
    take      rows int64 (m,) → their features float32 (m, f)
    search    features float32 (q, f), k → the nearest rows int64 (q, k') and their scores float32,
              nearest first; a row comes as often as it has copies; -1 where there are no more
    failures  files that could not be used
    """

    name: str
    keys: tuple[bytes, ...]
    files: tuple[str, ...]
    embedder: FeatureExtractor
    take: Callable[[Ids], Vectors]
    search: Callable[[Vectors, int], tuple[Ids, Vectors]]
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


def of_index(index: Index, left_out: Collection[int] = ()) -> Gallery:
    """The gallery of an open index; it must not change while it is measured.

    `left_out` are ids of images that are not looked at; nor are those without a feature.
    """
    made = index.embedder_row()
    hidden = {*left_out, *index.catalog.without_feature(made.id)}
    keys: list[bytes] = []
    files: list[str] = []
    place: dict[bytes, int] = {}
    by_id: dict[int, int] = {}
    # By content, so that what is measured does not hang on the order in which files came.
    for row in sorted(index.catalog.rows(), key=lambda row: (row.content, row.id)):
        if row.id in hidden:
            continue
        if row.content not in place:
            place[row.content] = len(keys)
            keys.append(row.content)
            files.append(row.file)
        by_id[row.id] = place[row.content]
    first = {row: image for image, row in reversed(by_id.items())}
    rows_of = np.vectorize(lambda image: by_id.get(image, -1), otypes=[np.int64])

    whole: list[Vectors] = []
    excluded = np.array(sorted(hidden), np.int64) if hidden else None
    made_by = made.fingerprint

    def take(rows: Ids) -> Vectors:
        if len(keys) > _IN_MEMORY:
            return index.stored_features([first[row] for row in rows.tolist()])
        if not whole:
            whole.append(index.stored_features([first[row] for row in range(len(keys))]))
        return np.asarray(whole[0][rows], np.float32)

    def search(features: Vectors, k: int) -> tuple[Ids, Vectors]:
        scores, ids = index.search(features, k, excluded, made_by)
        return (rows_of(ids) if ids.size else ids), scores

    return Gallery(index.path, tuple(keys), tuple(files), index.embedder(), take, search)


def of_files(
    name: str,
    paths: Sequence[str],
    embedder: FeatureExtractor,
    spec: IndexSpec,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Gallery:
    """The gallery that indexing these files would make, in memory; searched exactly.

    An embedder that learns from pictures is fitted on these.
    """
    embedder = fitted(embedder, paths, cache)
    embedded = embed_files(paths, embedder, cache, advance)
    places = by_content(embedded, range(len(paths)))
    return of_features(
        name, [embedded.contents[i] for i in places], [paths[i] for i in places], embedder,
        embedded.features[places], spec, tuple(failure for _, failure in embedded.failed),
    )  # fmt: skip


def by_content(embedded: Embedded, positions: Iterable[int]) -> list[int]:
    """Of these positions the first of each content, by content; those that failed are left out."""
    failed = {position for position, _ in embedded.failed}
    first: dict[bytes, int] = {}
    for position in positions:
        if position not in failed:
            first.setdefault(embedded.contents[position], position)
    return [first[content] for content in sorted(first)]


def of_features(  # noqa: PLR0913
    name: str,
    keys: Sequence[bytes],
    files: Sequence[str],
    embedder: FeatureExtractor,
    features: Vectors,
    spec: IndexSpec,
    failures: tuple[Failure, ...] = (),
) -> Gallery:
    """The same from features that are there already, float32 (n, f), one a key."""
    projection = Projection.none(features.shape[1])
    if spec.projection == "pca" and len(keys):
        projection = fit_gallery(keys, features, spec.dims, spec.seed)
    vectors = projection.apply(features)

    def search(asked: Vectors, k: int) -> tuple[Ids, Vectors]:
        found: list[Ids] = []
        best: list[Vectors] = []
        for start in range(0, len(asked), _BLOCK):
            scores = projection.apply(asked[start : start + _BLOCK]) @ vectors.T
            order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, len(vectors))]
            found.append(order.astype(np.int64))
            best.append(np.take_along_axis(scores, order, 1))
        if not found:
            return np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)
        return np.concatenate(found), np.concatenate(best)

    return Gallery(name, tuple(keys), tuple(files), embedder, lambda rows: features[rows], search,
                   failures)  # fmt: skip
