"""What shows the same as a picture of the gallery: its neighbours that are no chance.

What shows the same as a picture: the same content; pictures that stand out as far as half of the
edited copies that were found; pictures that stand out further than chance; and what shows the same
as those, twice over, since shots of one thing come in chains. Of chance: if the largest of many
scores fall off exponentially, the gaps between them, times their rank, all have one mean (Rényi
1953; Hill 1975); a score that is `FAMILY` means above the tenth is not explained by the fall-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbir.embed import sample_rows
from cbir.evaluate.gallery import Gallery
from cbir.query.match import BACKGROUND_RANK, NEAREST, Space, background
from cbir.types import Ids, Vectors

SAMPLE = 5_000
"""Features that the space is fitted on, at most."""
FAMILY = 12.0
HOPS = 2
WIDE = 256
"""Neighbours among which those that show the same are looked for."""
TAIL = 100
"""Ranks from the tenth to this one tell how scores fall off."""
_ASKED = 4_096
"""Pictures whose own families are looked up in one hop, at most: bounds the time where all are
alike."""
_BLOCK = 256
"""Pictures compared with the sample at a time: bounds memory."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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


def finite(cosines: Floats) -> Floats:
    """Taken-out places as the least that a cosine can be."""
    return np.where(np.isfinite(cosines), cosines, -1.0)


def first_standing(around: Around, cap: float) -> tuple[Ids, Floats]:
    """The nearest row of each query that is left, and how far it stands out: (q,), (q,).

    Where none is left, the row is -1, and the standing that of the opposite of the query.
    """
    rows, cosines = around.nearest()
    level = np.minimum(background(cosines), cap)
    return rows[:, 0], finite(cosines)[:, 0] - level
