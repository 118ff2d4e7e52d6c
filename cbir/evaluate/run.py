"""A protocol from end to end: embed, project, rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed import Projection, fit_gallery
from cbir.evaluate.embedding import as_stored, embed_crops, embed_files
from cbir.evaluate.fitting import fitted
from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.protocol import Answers, rank
from cbir.types import Failure, Ids, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Answers of one system, with the pictures that could not be used (they are left out)."""

    answers: Answers
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TruthFeatures:
    """A protocol's features by one embedder, made once for any number of projections.

    `embedder` is what made them: fitted on the gallery, where it learns from pictures.

    `truth` is without the pictures that could not be used, which are in `failures`. queries
    float32 (q, f) and gallery float32 (n, f) are raw, rounded as the catalog keeps them;
    `contents` are the hashes of the gallery's files. `embedded` counts what was not in the cache.
    """

    truth: Truth
    embedder: FeatureExtractor
    queries: Vectors
    gallery: Vectors
    contents: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    embedded: int
    fitting_s: float
    embedding_s: float

    def projections(self, specs: Sequence[IndexSpec]) -> list[Projection]:
        """The projection that `cbir index` would make, for each of the settings.

        Fitted on the gallery alone, never on queries that are not in it; once for all lengths that
        are asked, since leading components are the same however many are kept.
        """
        most: dict[int, Projection] = {}
        for seed in {spec.seed for spec in specs if spec.projection == "pca"}:
            dims = max(s.dims for s in specs if s.projection == "pca" and s.seed == seed)
            most[seed] = fit_gallery(self.contents, self.gallery, dims, seed)
        plain = Projection.none(self.gallery.shape[1])
        return [
            plain if spec.projection == "none" else _leading(most[spec.seed], spec.dims)
            for spec in specs
        ]


def _leading(projection: Projection, dims: int) -> Projection:
    """A projection with its first components only."""
    if projection.components is None or projection.dims <= dims:
        return projection
    share = float("nan")  # of the variance: only the fit knows it
    return replace(projection, components=projection.components[:dims], explained=share)


def truth_features(
    truth: Truth,
    embedder: FeatureExtractor,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> TruthFeatures:
    """Embed a protocol's pictures; a query that is a part of a picture is embedded alone.

    An embedder that learns from pictures is first fitted on the gallery, never on queries that are
    not in it.
    """
    start = time.perf_counter()
    embedder = fitted(embedder, [truth.paths[i] for i in truth.gallery.tolist()], cache)
    fitting = time.perf_counter() - start
    embedded = embed_files(truth.paths, embedder, cache, advance)
    used = without(truth, [position for position, _ in embedded.failed])
    queries = embedded.features[[q.image for q in used.queries]]
    crops = [(i, truth.paths[q.image], q.crop) for i, q in enumerate(used.queries) if q.crop]
    if crops:
        parts = embed_crops([(path, crop) for _, path, crop in crops], embedder)
        queries[[i for i, _, _ in crops]] = parts
    return TruthFeatures(
        truth=used,
        embedder=embedder,
        queries=as_stored(queries),
        gallery=embedded.features[used.gallery],
        contents=tuple(embedded.contents[i] for i in used.gallery.tolist()),
        failures=tuple(failure for _, failure in embedded.failed),
        embedded=embedded.embedded,
        fitting_s=fitting,
        embedding_s=time.perf_counter() - start - fitting,
    )


def measure(
    truth: Truth,
    embedder: FeatureExtractor,
    spec: IndexSpec,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Embed a protocol's pictures, project them as `cbir index` would, and rank."""
    found = truth_features(truth, embedder, cache, advance)
    (projection,) = found.projections([spec])
    return Measured(answered(found, spec, projection), found.failures)


def answered(found: TruthFeatures, spec: IndexSpec, projection: Projection) -> Answers:
    """Rank by one projection of the features; `about` says what the answers were made with."""
    embedder = found.embedder
    start = time.perf_counter()
    queries, gallery = projection.apply(found.queries), projection.apply(found.gallery)
    answers = rank(found.truth, queries, gallery, name_of(embedder, spec, projection.fitted > 0))
    about = {
        "embedder": embedder.spec.to_dict(), "fingerprint": embedder.fingerprint,
        "index_spec": spec.to_dict(), "dims": projection.dims, "fitted": projection.fitted,
        "failures": len(found.failures), "embedded": found.embedded,
        "fitting_s": round(found.fitting_s, 3), "embedding_s": round(found.embedding_s, 3),
        "ranking_s": round(time.perf_counter() - start, 3),
        **({"groups": found.truth.groups} if found.truth.groups else {}),
    }  # fmt: skip
    return replace(answers, about=about)


def name_of(embedder: FeatureExtractor, spec: IndexSpec, fitted: bool = True) -> str:
    """A system's name in tables: "efficientnet-lite0, pca 256"; "..., raw" where no projection is
    wanted, or none could be fitted to so few pictures."""
    return system_name(embedder.spec.backbone, spec, fitted)


def system_name(backbone: str, spec: IndexSpec, fitted: bool = True) -> str:
    """The same by the backbone's name, for where no embedder is loaded."""
    how = f"pca {spec.dims}" if spec.projection == "pca" and fitted else "raw"
    return f"{backbone}, {how}"


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
