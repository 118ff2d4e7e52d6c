"""A protocol on an index: its images are the gallery.

Labels are a metadata column of the index, or else the folders that its images lie in. Queries are
images of the index, by their stored features, so that nothing is embedded; or the pictures of a
manifest. `index_answers.py` asks them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cbir.catalog import FeatureCache, FileRow
from cbir.embed import sample_rows
from cbir.errors import ImageError, UsageError
from cbir.evaluate.embedding import embed_files
from cbir.evaluate.ground_truth import (
    Query,
    Row,
    Truth,
    chosen_rows,
    from_labels,
    places_by_label,
    read_manifest,
)
from cbir.images import content_hash
from cbir.query import Index, allowed_ids, find_file
from cbir.types import Failure, Ids, Vectors

LABEL = "label"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which labels, queries and gallery; terms as of `cbir query --where`.

    label          the metadata column; None: `label` where there is one, else the parent folder
    query_where    which images are queries; none: all of the gallery, each left out of its answer
    gallery_where  which images may be found; none: all
    left_out       ids of images that are neither asked nor found
    sample         how many queries, at most, chosen by their contents; None: all
    unasked        contents that are found, but do not ask (with an index's own images)
    """

    label: str | None = None
    query_where: Sequence[str] = ()
    gallery_where: Sequence[str] = ()
    left_out: frozenset[int] = frozenset()
    sample: int | None = None
    unasked: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class IndexTruth:
    """A protocol on an index, and what it takes to ask it.

    ids       of the gallery's images, int64 (n,), rising, in the order of `truth.gallery`
    features  of the queries, float32 (q, f), in the order of `truth.queries`
    labels    where the gallery's labels are from, for people
    embedder  fingerprint of what made the features
    failures  of the manifest's pictures: they are not queries
    embedded  how many queries had no stored or cached feature
    contents  of the queries, in their order
    spared    how many images with a label are no queries because of `Choice.unasked`
    """

    truth: Truth
    ids: Ids
    features: Vectors
    labels: str
    embedder: str
    failures: tuple[Failure, ...] = ()
    embedded: int = 0
    contents: tuple[bytes, ...] = ()
    spared: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The images of an index, by id, with a label each ("" where there is none)."""

    rows: list[FileRow]
    labels: list[str]
    by: str
    gallery: list[int]


def from_index(index: Index, choice: Choice | None = None) -> IndexTruth:
    """Images of one label are relevant to each other; those without a label are distractors.

    A distractor is in the gallery, relevant to nothing, and no query. The index must not change
    meanwhile. Raises UsageError where a column is not there, no image fits, or none has a label.
    """
    choice = choice or Choice()
    images = _images(index, choice)
    asked = images.gallery
    if choice.query_where:
        asked = _passing(index, images.rows, choice.query_where)
    labelled = [i for i in asked if images.labels[i]]
    queries = [i for i in labelled if images.rows[i].content not in choice.unasked]
    spared = len(labelled) - len(queries)
    if not queries:
        raise UsageError(
            f"labels: expected queries with a label; of {len(asked)} images that may be "
            f"queries none has one (labels: {images.by}). Name another column with --label."
        )
    if choice.sample is not None:
        contents = [images.rows[i].content for i in queries]
        queries = [queries[i] for i in sample_rows(contents, choice.sample, 0).tolist()]
    used = sorted({*queries, *images.gallery})  # no other picture is looked at
    place = {row: i for i, row in enumerate(used)}
    where = " ".join(choice.query_where)
    truth = from_labels(
        _name(index, choice, where or "leave one out"),
        [images.rows[i].file for i in used],
        [images.labels[i] for i in used],
        ([place[i] for i in queries], [place[i] for i in images.gallery]),
    )
    features = index.stored_features([images.rows[i].id for i in queries])
    made_by = index.embedder_row().fingerprint
    own = tuple(images.rows[i].content for i in queries)
    return IndexTruth(
        truth, _ids(images), features, images.by, made_by, contents=own, spared=spared
    )


def from_index_and_manifest(
    index: Index,
    manifest: str,
    choice: Choice | None = None,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> IndexTruth:
    """The pictures of a manifest ask an index; what has the same label is relevant.

    `query_where` acts on the manifest's columns, `gallery_where` on the index's. A query whose file
    is in the index is left out of its own answer. Rows without a label are no queries. Raises
    UsageError as `from_index` does, and where no label is in both.
    """
    choice = choice or Choice()
    images = _images(index, choice)
    rows = read_manifest(manifest, choice.label or LABEL)
    column = choice.label or LABEL
    asked = [rows[i] for i in chosen_rows(rows, choice.query_where) if rows[i].columns[column]]
    by_label = places_by_label([images.labels[i] for i in images.gallery])
    _check_labels(manifest, [row.columns[column] for row in asked], by_label, images.by)
    paths = [row.path for row in asked]
    features, contents, failed, embedded = _features(index, paths, cache, advance)
    kept = [i for i in range(len(asked)) if i not in failed]
    truth = _truth(index, images, [asked[i] for i in kept], column, by_label)
    where = f"{os.path.basename(manifest)} {' '.join(choice.query_where)}".strip()
    return IndexTruth(
        replace(truth, name=_name(index, choice, where)), _ids(images), features[kept],
        images.by, index.embedder_row().fingerprint, tuple(failed[i] for i in sorted(failed)),
        embedded, tuple(contents[i] for i in kept),
    )  # fmt: skip


def _images(index: Index, choice: Choice) -> _Images:
    rows = list(index.catalog.rows())
    if rows:  # what has no feature is not found, whoever asks
        hidden = {*choice.left_out, *index.catalog.without_feature(index.embedder_row().id)}
        rows = [row for row in rows if row.id not in hidden]
    if not rows:
        raise UsageError(f"{index.path} holds no images yet.")
    gallery = list(range(len(rows)))
    if choice.gallery_where:
        gallery = _passing(index, rows, choice.gallery_where)
    columns = index.catalog.columns()
    if choice.label is not None and choice.label not in columns:
        raise UsageError(
            f"--label: expected one of the index's metadata columns "
            f"({', '.join(columns) or 'there are none'}); received {choice.label!r}. Columns come "
            "from a CSV: `cbir index --metadata FILE`."
        )
    column = choice.label or (LABEL if LABEL in columns else None)
    if column is None:
        return _Images(rows, [_folder(row) for row in rows], "parent folder", gallery)
    stored = index.catalog.column(column)
    return _Images(rows, [stored.get(row.id, "") for row in rows], f"column {column}", gallery)


def _folder(row: FileRow) -> str:
    """The label of a file by where it lies: its folder below the root, or else the root's name."""
    return os.path.dirname(row.path) or os.path.basename(row.root)


def _passing(index: Index, rows: Sequence[FileRow], where: Sequence[str]) -> list[int]:
    allowed = allowed_ids(index.catalog, where)
    passing = set() if allowed is None else set(allowed.tolist())
    found = [i for i, row in enumerate(rows) if row.id in passing]
    if not found:
        raise UsageError(f"where: no image of the index fits {' '.join(where)}.")
    return found


def _ids(images: _Images) -> Ids:
    return np.array([images.rows[i].id for i in images.gallery], np.int64)


def _name(index: Index, choice: Choice, queries: str) -> str:
    gallery = f" {' '.join(choice.gallery_where)}" if choice.gallery_where else ""
    name = os.path.basename(index.path)
    if queries == "leave one out":
        return f"index {name}{gallery}, leave one out"
    return f"{queries} in index {name}{gallery}"


def _check_labels(
    manifest: str, asked: Sequence[str], by_label: dict[str, Ids], labels: str
) -> None:
    """Labels of two sources that have nothing in common are a mistake, not a result."""
    if not asked:
        raise UsageError(f"manifest: expected rows with a label in {manifest}; none has one.")
    if not set(asked) & set(by_label):
        known = ", ".join(sorted(by_label)[:3]) or "none"
        raise UsageError(
            f"labels: no label of {manifest} ({', '.join(sorted(set(asked))[:3])}, ...) "
            f"is one of the index's ({labels}: {known}, ...). Give the index labels with `cbir "
            "index --metadata FILE`, or name their column with --label."
        )


def _truth(
    index: Index,
    images: _Images,
    asked: Sequence[Row],
    column: str,
    by_label: dict[str, Ids],
) -> Truth:
    """The gallery's pictures, then the queries'; a query in the gallery is known by its file."""
    place = {images.rows[i].id: n for n, i in enumerate(images.gallery)}
    n = len(images.gallery)
    queries = []
    for i, row in enumerate(asked):
        image = find_file(index.catalog, row.path)
        own = None if image is None else place.get(image)
        relevant = by_label.get(row.columns[column], np.empty(0, np.int64))
        if own is not None:
            relevant = relevant[relevant != own]
        queries.append(Query(n + i, relevant, np.empty(0, np.int64), own))
    return Truth(
        "",
        (*(images.rows[i].file for i in images.gallery), *(row.path for row in asked)),
        (*(images.labels[i] for i in images.gallery), *(row.columns[column] for row in asked)),
        np.arange(n, dtype=np.int64),
        tuple(queries),
    )


def _features(
    index: Index,
    paths: Sequence[str],
    cache: FeatureCache | None,
    advance: Callable[[int], None],
) -> tuple[Vectors, dict[int, bytes], dict[int, Failure], int]:
    """Features of files, float32 (n, f); contents; which cannot be used; how many were embedded.

    Contents that the index has are not embedded, whatever file they are in.
    """
    row = index.embedder_row()
    found = np.zeros((len(paths), row.feature_dims), np.float32)
    contents: dict[int, bytes] = {}
    failed: dict[int, Failure] = {}
    missing: list[int] = []
    for i, path in enumerate(paths):
        try:
            contents[i] = content_hash(path)
            feature = index.catalog.content_feature(row, contents[i])
        except ImageError as error:
            failed[i] = Failure(path, error.reason, error.passing)
            continue
        if feature is None:
            missing.append(i)
        else:
            found[i] = feature
            advance(1)
    if not missing:
        return found, contents, failed, 0
    fresh = embed_files([paths[i] for i in missing], index.embedder(), cache, advance)
    found[missing] = fresh.features
    failed.update({missing[i]: failure for i, failure in fresh.failed})
    return found, contents, failed, fresh.embedded
