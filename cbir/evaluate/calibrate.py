"""Fitting what makes a match of a score, without labels, on the gallery's own pictures.

Positives are edited pictures whose source is in the gallery: their nearest hit, where it is the
source. Negatives are queries whose source, and what shows the same, was taken out: what is nearest
then is nearest by kind alone. Random pairs would be far too easy. Half of the negatives' weight is
edited pictures, half pictures as they are, which were left out when the space was fitted; for a
picture that a space was fitted on lies apart from all others, as a new picture does not.

What shows the same as a picture is found by `cbir.evaluate.families`. Matches and other pictures
count as equally likely beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbir.embed import sample_rows
from cbir.errors import ImageError
from cbir.evaluate.families import (
    SAMPLE,
    WIDE,
    Around,
    Likeness,
    families,
    first_standing,
    neighbours,
    take_out,
)
from cbir.evaluate.gallery import Gallery
from cbir.images import DecodeOptions, decode, resize
from cbir.images.edits import EDITS, Edit
from cbir.query.match import (
    Calibration,
    Space,
    background,
    centre,
    rising,
    whiten,
)
from cbir.types import Ids, Vectors

LEAST = 40
"""Different pictures from which on a gallery is calibrated."""
SOURCES = LEAST // 2
"""Pictures of it that must be there to be edited, at least."""
WHITEN_AT = 500
"""From here on the space is whitened; fewer pictures do not tell enough of their variances."""
NEGATIVES = 600
CAP = 0.9
"""The background is capped at this quantile of the negatives'."""

ROUNDS = 50

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How much work a calibration is.

    queries  edited pictures to embed; None: a quarter of the gallery, 150 to 600
    seed     of the samples
    """

    queries: int | None = None
    seed: int = 0

    def budget(self, size: int) -> int:
        """How many edited pictures a gallery of this size gets."""
        return self.queries or int(np.clip(size // 4, 150, 600))


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """Edited pictures: features float32 (n, f), the rows of their sources, their edits' names."""

    features: Vectors
    sources: Ids
    edits: tuple[str, ...]


def calibrate(
    gallery: Gallery,
    options: CalibrationOptions | None = None,
    edits: Mapping[str, Edit] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration | None:
    """Fit score → match on a gallery; None where it has too few pictures that can be read.

    `advance` is told of each picture that was edited and embedded.
    """
    used = options or CalibrationOptions()
    if len(gallery) < LEAST:
        return None
    space, negatives = _fit_space(gallery, used.seed)
    others = np.setdiff1d(np.arange(len(gallery)), negatives)
    pool = others if len(others) >= SOURCES else np.arange(len(gallery))
    edited = edit_pictures(gallery, pool, used, EDITS if edits is None else edits, advance)
    if len(np.unique(edited.sources)) < SOURCES:
        return None
    return _fit(gallery, space, negatives, edited)


def negative_rows(gallery: Gallery, seed: int) -> Ids:
    """The rows that serve as negatives, int64 (m,): in a large gallery, and nowhere else."""
    size = len(gallery)
    most = NEGATIVES if size < WHITEN_AT else min(NEGATIVES, size // 5)
    return sample_rows(gallery.keys, most, seed + 1)


def _fit_space(gallery: Gallery, seed: int) -> tuple[Space, Ids]:
    """The space, and the rows that serve as negatives."""
    size, negatives = len(gallery), negative_rows(gallery, seed)
    if size < WHITEN_AT:
        return centre(gallery.take(np.arange(size, dtype=np.int64))), negatives
    others = np.setdiff1d(np.arange(size), negatives)
    rows = others[sample_rows([gallery.keys[i] for i in others], SAMPLE, seed)]
    return whiten(gallery.take(rows)), negatives


def edit_pictures(
    gallery: Gallery,
    pool: Ids,
    options: CalibrationOptions,
    edits: Mapping[str, Edit],
    advance: Callable[[int], None] = lambda _: None,
) -> Edited:
    """Edit and embed pictures of the pool: many sources before many edits of each.

    A file that is not there any more, or cannot be read, is left out.
    """
    keys = [gallery.keys[row] for row in pool.tolist()]
    budget = options.budget(len(gallery))
    sources = pool[sample_rows(keys, budget, options.seed)]
    each = min(len(edits), -(-budget // len(sources)))
    rng = np.random.default_rng(options.seed)
    names = list(edits)
    features: list[Vectors] = []
    rows: list[int] = []
    chosen: list[str] = []
    spec = gallery.embedder.spec
    for row in sources.tolist():
        own = [names[i] for i in rng.permutation(len(names))[:each]]
        try:
            pixels = decode(gallery.files[row], DecodeOptions(spec.input_size)).pixels
        except ImageError:
            continue
        made = np.stack([resize(edits[n](pixels), spec.input_size, spec.resize) for n in own])
        features.append(gallery.embedder.features(made))
        rows += [row] * len(own)
        chosen += own
        advance(len(own))
    length = gallery.embedder.feature_dims
    stacked = np.concatenate(features) if features else np.empty((0, length), np.float32)
    return Edited(stacked, np.array(rows, np.int64), tuple(chosen))


def _fit(gallery: Gallery, space: Space, negatives: Ids, edited: Edited) -> Calibration:
    """The function, from where the nearest hit of each query stands."""
    asked = neighbours(gallery, space, edited.features, WIDE)
    around = neighbours(gallery, space, gallery.take(negatives), WIDE)
    cap = _cap(take_out(around, [{row} for row in negatives.tolist()]))
    first, standing = first_standing(asked, cap)
    found = standing[first == edited.sources]
    alike = float(np.median(found)) if len(found) else np.inf
    like = Likeness(space, cap, alike)
    plain = take_out(around, families(gallery, negatives, like))
    sources = np.unique(edited.sources)
    same = families(gallery, sources, like)
    by_source = dict(zip(sources.tolist(), same, strict=True))
    own = [by_source[row] for row in edited.sources.tolist()]
    cap = _cap(plain)
    first, standing = first_standing(asked, cap)
    right = np.array([row in rows for row, rows in zip(first.tolist(), own, strict=True)], bool)
    _, removed = first_standing(take_out(asked, own), cap)
    _, left = first_standing(plain, cap)
    values = np.concatenate((standing, removed, left))
    truth = np.concatenate((right, np.zeros(len(removed) + len(left), bool)))
    n, m = len(standing), len(left)
    weights = np.concatenate((np.full(n, 1 / n), np.full(n, 0.5 / n), np.full(m, 0.5 / m)))
    corners, matches = fit_rising(values, truth, weights)
    about = {"queries": n, "negatives": n + m, "right": round(float(right.mean()), 4)}
    return Calibration(space, cap, corners, matches, len(gallery), about)


def _cap(around: Around) -> float:
    """The cap; 0, as of unlike pictures, where no negative has ten pictures left around it."""
    levels = background(around.nearest()[1])
    known = levels[np.isfinite(levels)]
    return float(np.quantile(known, CAP)) if len(known) else 0.0


def fit_rising(
    values: Floats, truth: Flags, weights: Floats, rounds: int = ROUNDS, seed: int = 0
) -> tuple[Floats, Floats]:
    """The rising function from values (n,) to the share that is true: its corners.

    The mean of isotonic fits on resampled queries (Poisson weights): one fit's steps hang on single
    queries. One more false one above all values and one more true one below keep the ends off 0
    and 1, as so few queries cannot tell certainty. Zadrozny and Elkan, Transforming classifier
    scores into accurate multiclass probability estimates (KDD 2002), section 3; Breiman, Bagging
    predictors (1996).
    """
    order = np.lexsort((weights, truth, values))
    x = values[order][[0, *range(len(values)), -1]]
    y = np.concatenate(([1.0], truth[order].astype(np.float64), [0.0]))
    w = np.concatenate(([weights.mean()], weights[order], [weights.mean()]))
    places, first = np.unique(x, return_index=True)  # equal values must have one match
    rng = np.random.default_rng(seed)
    total = np.zeros(len(places))
    for _ in range(rounds):
        drawn = rng.poisson(1.0, len(x)).astype(np.float64)
        drawn[[0, -1]] = 1.0
        heavy = w * np.maximum(drawn, 1e-9)
        of_place = np.add.reduceat(heavy, first)
        total += rising(np.add.reduceat(heavy * y, first) / of_place, of_place)
    return places, np.clip(total / rounds, 0, 1)
