"""How far a match can be trusted: on edited copies that the fit has not seen, and on labels.

A probability is calibrated if, of the hits that have it, that share is right. The table compares
the two in bins; their mean distance, weighted by how many are in a bin, is the expected calibration
error (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cbir.catalog import FeatureCache
from cbir.config import FeatureExtractor, IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.calibrate import (
    WHITEN_AT,
    CalibrationOptions,
    Edited,
    edit_pictures,
    negative_rows,
)
from cbir.evaluate.embedding import embed_files
from cbir.evaluate.families import first_standing, neighbours, take_out
from cbir.evaluate.fitting import fitted
from cbir.evaluate.gallery import Gallery, by_content, of_features
from cbir.evaluate.ground_truth import Truth
from cbir.evaluate.metrics import bootstrap_interval
from cbir.images.edits import EDITS, Edit
from cbir.query.match import NEAREST, Calibration
from cbir.types import Vectors

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

THRESHOLDS = (0.5, 0.9, 0.95, 0.99)
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Hits whose probability is in a tenth: how many, their mean probability, the share right."""

    count: int
    said: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins by rising probability (empty ones left out) and the expected calibration error."""

    bins: tuple[Bin, ...]
    error: float


def reliability(said: Floats, right: Flags, weights: Floats | None = None) -> Reliability:
    """Compare probabilities (n,) in 0..1 with what was right (n,); weights (n,), default equal.

    Bins without weight are left out; the error is NaN where none is left. Raises UsageError where
    the lengths differ.
    """
    heavy = np.ones(len(said)) if weights is None else weights
    if not len(said) == len(right) == len(heavy):
        raise UsageError(
            f"reliability: expected as many flags and weights as values, {len(said)}; received "
            f"{len(right)} and {len(heavy)}."
        )
    places = np.minimum((np.clip(said, 0, 1) * BINS).astype(int), BINS - 1)
    made = []
    error = 0.0
    for place in range(BINS):
        of = places == place
        if not heavy[of].sum() > 0:
            continue
        share = heavy[of] / heavy[of].sum()
        one = Bin(int(of.sum()), float(said[of] @ share), float(right[of] @ share))
        made.append(one)
        error += abs(one.said - one.right) * float(heavy[of].sum() / heavy.sum())
    return Reliability(tuple(made), error if made else float("nan"))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The nearest hit of each query: its row, its score and its match, (q,).

    Where all were taken out, the row and the score are -1.
    """

    rows: NDArray[np.int64]
    scores: Floats
    matches: Floats


def ask(
    gallery: Gallery,
    calibration: Calibration,
    features: Vectors,
    gone: Sequence[set[int]] | None = None,
) -> Asked:
    """The nearest hits of features (q, f), with `gone` rows of each query taken out."""
    extra = max((len(rows) for rows in gone), default=0) if gone else 0
    around = neighbours(gallery, calibration.space, features, NEAREST + extra)
    _, scores = gallery.search(features, NEAREST + extra)
    if gone:
        around = take_out(around, gone)
    rows, standing = first_standing(around, calibration.cap)
    place = np.argmax(around.rows >= 0, axis=1)
    best = np.where(rows >= 0, scores[np.arange(len(rows)), place], -1.0).astype(np.float64)
    return Asked(rows, best, calibration.match(standing))


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a calibration does on queries that it was not fitted on.

    answered   threshold → share of edited copies whose nearest hit has that match, with interval
    right      threshold → of those answered, the share where the hit is the source
    edits      edit → share answered at .9
    others     threshold → share of the pictures without a copy that are answered, with interval
    before, after   reliability of the score (as it is, below 0 as 0) and of the match, on copies
               and on the same queries with their source taken out, equally many
    labelled   reliability of the match against equal labels; None where there are none
    """

    images: int
    copies: int
    without: int
    answered: Mapping[float, tuple[float, tuple[float, float]]]
    right: Mapping[float, float]
    edits: Mapping[str, float]
    others: Mapping[float, tuple[float, tuple[float, float]]]
    before: Reliability
    after: Reliability
    labelled: Reliability | None = None
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Pictures without a copy in the gallery, features (q, f), and which hits show the same kind.

    gone   for each query the rows that may not be found (its own); None: none
    same   query, row → whether their labels are equal; None where there are no labels
    """

    features: Vectors
    gone: Sequence[set[int]] | None = None
    same: Callable[[int, int], bool] | None = None


def match_report(
    gallery: Gallery,
    calibration: Calibration,
    held: HeldOut,
    options: CalibrationOptions | None = None,
    edits: Mapping[str, Edit] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> MatchReport:
    """Ask for edited copies of pictures that were no sources of the fit, and for held-out ones.

    A gallery that is too small to be whitened has no such pictures: there the edits are others.
    """
    used = options or CalibrationOptions(seed=0 if len(gallery) >= WHITEN_AT else 1)
    copies = edit_pictures(
        gallery, negative_rows(gallery, 0), used, EDITS if edits is None else edits, advance
    )
    if not len(copies.sources):
        raise UsageError("match: no picture of the gallery can be read any more.")
    found = ask(gallery, calibration, copies.features)
    own = [{row} for row in copies.sources.tolist()]
    without = ask(gallery, calibration, copies.features, own)
    truth = np.concatenate((found.rows == copies.sources, np.zeros(len(own), bool)))
    scores = np.concatenate((found.scores, without.scores))
    matches = np.concatenate((found.matches, without.matches))
    others = ask(gallery, calibration, held.features, held.gone)
    return MatchReport(
        images=len(gallery),
        copies=len(own),
        without=len(held.features),
        answered={p: _share(found.matches >= p) for p in THRESHOLDS},
        right={p: _mean((found.rows == copies.sources)[found.matches >= p]) for p in THRESHOLDS},
        edits=_by_edit(copies, found.matches >= 0.9),
        others={p: _share(others.matches >= p) for p in THRESHOLDS},
        before=reliability(np.clip(scores, 0, 1), truth),
        after=reliability(matches, truth),
        labelled=_labelled(held, others),
        about=dict(calibration.about),
    )


def _labelled(held: HeldOut, others: Asked) -> Reliability | None:
    if held.same is None or not len(others.rows):
        return None
    right = np.array([held.same(i, row) for i, row in enumerate(others.rows.tolist())], bool)
    return reliability(others.matches, right)


def _by_edit(copies: Edited, answered: Flags) -> dict[str, float]:
    names = np.array(copies.edits)
    shares = {name: _mean(answered[names == name]) for name in sorted(set(copies.edits))}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _mean(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _share(flags: Flags) -> tuple[float, tuple[float, float]]:
    return _mean(flags), bootstrap_interval([float(flag) for flag in flags])


def of_truth(
    truth: Truth,
    embedder: FeatureExtractor,
    spec: IndexSpec,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Gallery, HeldOut]:
    """A protocol's gallery, and its queries as pictures that have no copy in it.

    A query that is in the gallery is left out of its own answer, by its content.
    """
    embedder = fitted(embedder, [truth.paths[i] for i in truth.gallery.tolist()], cache)
    embedded = embed_files(truth.paths, embedder, cache, advance)
    failed = {position for position, _ in embedded.failed}
    chosen = by_content(embedded, truth.gallery.tolist())
    keys = [embedded.contents[i] for i in chosen]
    gallery = of_features(
        truth.name, keys, [truth.paths[i] for i in chosen], embedder,
        embedded.features[chosen], spec, tuple(failure for _, failure in embedded.failed),
    )  # fmt: skip
    place = {content: row for row, content in enumerate(keys)}
    queries = [q.image for q in truth.queries if q.image not in failed]
    own = [{place[c]} if (c := embedded.contents[i]) in place else set() for i in queries]
    labels = [truth.labels[i] for i in chosen]

    def same(query: int, row: int) -> bool:
        return row >= 0 and truth.labels[queries[query]] == labels[row]

    held = HeldOut(embedded.features[queries], own, same if any(labels) else None)
    return gallery, held
