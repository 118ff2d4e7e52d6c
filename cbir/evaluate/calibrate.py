"""Fitting what makes a match of a score, without labels, on the gallery's own pictures.

Positives are edited pictures whose source is in the gallery: their nearest hit, where it is the
source. Negatives are queries whose source, and what shows the same, was taken out: what is nearest
then is nearest by kind alone. Random pairs would be far too easy. Half of the negatives' weight is
edited pictures, half pictures as they are, which were left out when the space was fitted; for a
picture that a space was fitted on lies apart from all others, as a new picture does not.

What shows the same as a picture: the same content; pictures that stand out as far as half of the
edited copies that were found; pictures that stand out further than chance; and what shows the same
as those, twice over, since shots of one thing come in chains. Of chance: if the largest of many
scores fall off exponentially, the gaps between them, times their rank, all have one mean (Rényi
1953; Hill 1975); a score that is `FAMILY` means above the tenth is not explained by the fall-off.
Matches and other pictures count as equally likely beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbir.embed import sample_rows
from cbir.errors import ImageError
from cbir.evaluate.gallery import Gallery
from cbir.images import DecodeOptions, decode, resize
from cbir.images.edits import EDITS, Edit
from cbir.query.match import (
    BACKGROUND_RANK,
    NEAREST,
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
SAMPLE = 5_000
"""Features that the space is fitted on, at most."""
FAMILY = 12.0
HOPS = 2
WIDE = 256
"""Neighbours among which those that show the same are looked for."""
CAP = 0.9
"""The background is capped at this quantile of the negatives'."""
TAIL = 100
"""Ranks from the tenth to this one tell how scores fall off."""
_ASKED = 4_096
"""Pictures whose own families are looked up in one hop, at most: bounds the time where all are
alike."""
_BLOCK = 256
"""Pictures compared with the sample at a time: bounds memory."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """What is near some queries: rows int64 (q, m), nearest first, and their cosines in a space.

    Places that are taken out have row -1 and cosine -inf.
    """

    rows: Ids
    cosines: Floats

    def nearest(self) -> tuple[Ids, Floats]:
        """The first `NEAREST` that are left, in their order: rows and cosines (q, NEAREST)."""
        order = np.argsort(self.rows < 0, axis=1, kind="stable")[:, :NEAREST]
        return np.take_along_axis(self.rows, order, 1), np.take_along_axis(self.cosines, order, 1)


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


def neighbours(gallery: Gallery, space: Space, features: Vectors, k: int) -> Around:
    """The k nearest of features (q, f) by the gallery's own ranking, with cosines in the space."""
    rows, _ = gallery.search(features, k)
    asked = space.apply(features)
    cosines = np.full(rows.shape, -np.inf)
    for i, found in enumerate(rows):
        there = found >= 0
        if there.any():
            cosines[i, there] = space.apply(gallery.take(found[there])) @ asked[i]
    return Around(rows, cosines)


def take_out(around: Around, gone: Sequence[set[int]]) -> Around:
    """The same without each query's set of rows."""
    pairs = zip(around.rows.tolist(), gone, strict=True)
    out = np.array([[row in rows for row in found] for found, rows in pairs], bool)
    out = out.reshape(around.rows.shape)
    return Around(np.where(out, -1, around.rows), np.where(out, -np.inf, around.cosines))


@dataclass(frozen=True, slots=True)
class Likeness:
    """When two pictures show the same: how their standing is reckoned, and how far it must go."""

    space: Space
    cap: float
    alike: float


def families(gallery: Gallery, rows: Ids, like: Likeness) -> list[set[int]]:
    """For each picture: itself and those that show the same, as the module's head has it."""
    links: dict[int, set[int]] = {}
    most = len(rows) + _ASKED
    members = {row: {row} for row in rows.tolist()}
    for _ in range(1 + HOPS):
        fresh = set().union(*members.values()) - links.keys()
        asked = np.array(sorted(fresh), np.int64)
        asked = asked[sample_rows([gallery.keys[row] for row in asked], most, 0)]
        links.update(zip(asked.tolist(), _linked(gallery, asked, like), strict=True))
        for row, found in members.items():
            members[row] = found.union(*(links.get(one, ()) for one in found))
    return [members[row] for row in rows.tolist()]


def _linked(gallery: Gallery, rows: Ids, like: Likeness) -> list[set[int]]:
    """For each picture, those that show the same at first sight."""
    if not len(rows):
        return []
    sample = sample_rows(gallery.keys, SAMPLE, 0)
    compared = like.space.apply(gallery.take(sample))
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    return [same for block in blocks
            for same in _linked_block(gallery, block, like, (sample, compared))]  # fmt: skip


def _linked_block(
    gallery: Gallery, rows: Ids, like: Likeness, sample: tuple[Ids, Vectors]
) -> list[set[int]]:
    """The same for a few pictures; `sample`: rows (m,) and their vectors in the space (m, d)."""
    features = gallery.take(rows)
    near = like.space.apply(features) @ sample[1].T
    level, step = _fall_off(near, sample[0][None] == rows[:, None])
    around = neighbours(gallery, like.space, features, WIDE)
    around = take_out(around, [{row} for row in rows.tolist()])
    base = np.minimum(background(around.nearest()[1]), like.cap)
    same = around.cosines > np.minimum(level + FAMILY * step, base + like.alike)[:, None]
    return [set(found[flags].tolist()) for found, flags in zip(around.rows, same, strict=True)]


def _fall_off(cosines: Floats | Vectors, own: Flags) -> tuple[Floats, Floats]:
    """The tenth largest cosine of each row (q, m), and the mean scaled gap from there on (q,).

    Where a gallery is too small to tell, the gap is infinite: nothing stands out.
    """
    last = min(TAIL, cosines.shape[1] // 5)
    if last - BACKGROUND_RANK < 10:
        return np.zeros(len(cosines)), np.full(len(cosines), np.inf)
    top = np.where(own, -np.inf, cosines)
    top = -np.sort(-top, axis=1)[:, :last]
    ranks = np.arange(BACKGROUND_RANK, last)
    gaps = top[:, BACKGROUND_RANK - 1 : -1] - top[:, BACKGROUND_RANK:]
    return top[:, BACKGROUND_RANK - 1], np.asarray((ranks * gaps).mean(axis=1), np.float64)


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


def _finite(cosines: Floats) -> Floats:
    """Taken-out places as the least that a cosine can be."""
    return np.where(np.isfinite(cosines), cosines, -1.0)


def first_standing(around: Around, cap: float) -> tuple[Ids, Floats]:
    """The nearest row of each query that is left, and how far it stands out: (q,), (q,).

    Where none is left, the row is -1, and the standing that of the opposite of the query.
    """
    rows, cosines = around.nearest()
    level = np.minimum(background(cosines), cap)
    return rows[:, 0], _finite(cosines)[:, 0] - level


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
