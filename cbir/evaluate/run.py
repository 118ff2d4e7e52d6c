"""A protocol from end to end: embed, project, rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed import Projection, fit_gallery
from cbir.evaluate.embedding import Embedded, embed_crops, embed_files
from cbir.evaluate.fitting import fitted
from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.protocol import Answers, rank
from cbir.types import Failure, Ids


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Answers of one system, with the pictures that could not be used (they are left out)."""

    answers: Answers
    failures: tuple[Failure, ...]


def measure(
    truth: Truth,
    embedder: FeatureExtractor,
    spec: IndexSpec,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Embed a protocol's pictures, project them as `cbir index` would, and rank.

    The projection, and an embedder that learns from pictures, are fitted on the gallery alone,
    never on queries that are not in it.
    """
    start = time.perf_counter()
    embedder = fitted(embedder, [truth.paths[i] for i in truth.gallery], cache, spec.seed)
    fitting = time.perf_counter() - start
    start = time.perf_counter()
    embedded = embed_files(truth.paths, embedder, cache, advance)
    seconds = time.perf_counter() - start
    used = without(truth, [position for position, _ in embedded.failed])
    projection = _projection(used, embedded, spec)
    gallery = projection.apply(embedded.features[used.gallery])
    queries = projection.apply(embedded.features[[q.image for q in used.queries]])
    crops = [(i, truth.paths[q.image], q.crop) for i, q in enumerate(used.queries) if q.crop]
    if crops:
        parts = embed_crops([(path, crop) for _, path, crop in crops], embedder)
        queries[[i for i, _, _ in crops]] = projection.apply(parts)
    start = time.perf_counter()
    answers = rank(used, queries, gallery, name_of(embedder, spec))
    about = {
        "embedder": embedder.spec.to_dict(), "fingerprint": embedder.fingerprint,
        "index_spec": spec.to_dict(), "dims": projection.dims, "fitted": projection.fitted,
        "failures": len(embedded.failed), "embedded": embedded.embedded,
        "fitting_s": round(fitting, 3), "embedding_s": round(seconds, 3),
        "ranking_s": round(time.perf_counter() - start, 3),
    }  # fmt: skip
    return Measured(replace(answers, about=about), tuple(f for _, f in embedded.failed))


def name_of(embedder: FeatureExtractor, spec: IndexSpec) -> str:
    """A system's name in tables: "efficientnet-lite0, pca 256"."""
    how = f"pca {spec.dims}" if spec.projection == "pca" else "raw"
    return f"{embedder.spec.backbone}, {how}"


def _projection(truth: Truth, embedded: Embedded, spec: IndexSpec) -> Projection:
    if spec.projection == "none":
        return Projection.none(embedded.features.shape[1])
    contents = [embedded.contents[i] for i in truth.gallery]
    return fit_gallery(contents, embedded.features[truth.gallery], spec.dims, spec.seed)


def without(truth: Truth, failed: Sequence[int]) -> Truth:
    """The protocol without pictures that could not be used: neither asked nor found."""
    if not failed:
        return truth
    bad = set(failed)
    kept = [place for place, image in enumerate(truth.gallery.tolist()) if image not in bad]
    moved = np.full(len(truth.gallery), -1, np.int64)
    moved[kept] = np.arange(len(kept))

    def at(places: Ids) -> Ids:
        found = moved[places]
        return np.asarray(found[found >= 0], np.int64)

    queries = tuple(
        Query(q.image, at(q.relevant), at(q.junk), None if q.own is None else int(moved[q.own]),
              q.crop)
        for q in truth.queries
        if q.image not in bad
    )  # fmt: skip
    return replace(truth, gallery=truth.gallery[kept], queries=queries)
