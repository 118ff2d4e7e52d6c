"""From score to match: the calibrated probability that two pictures show the same thing.

A score says how near two pictures are, not whether one is a copy of the other: in a gallery of
shirts every shirt is near. So a match is judged by how far a hit stands out of what is near the
query anyway. For that the features are compared in a space of their own, centred and whitened with
shrinkage, in which pictures of one kind lie apart (Jégou and Chum, ECCV 2012, section 4; for
retrieval by kind it would be worse). A hit's standing is its cosine there less the query's
background, the tenth largest cosine among the query's nearest pictures; the idea of judging the
first against the tail of the others is Scheirer et al., Meta-Recognition (PAMI 2011). A rising
step function, fitted by `cbir.evaluate.calibrate`, makes a probability of it.

NumPy only. The space and the function belong to a generation and are stored with it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cbir.types import Vectors

VERSION = 1
NEAREST = 50
"""Pictures around a query, by the index's own ranking, that its background is taken from."""
BACKGROUND_RANK = 10
DIMS = 512
SHRINKAGE = 0.05
"""Added to every variance before whitening, as a share of the mean of the largest 256."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Centred, whitened unit vectors: mean float32 (f,), components float32 (d, f) or None."""

    mean: Vectors
    components: Vectors | None = None

    def apply(self, features: Vectors) -> Vectors:
        """Features float32 (n, f) → float32 (n, d), unit rows; zero where a row is the mean."""
        rows: NDArray[Any] = np.asarray(features, np.float32) - self.mean
        if self.components is not None:
            rows = rows @ self.components.T
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        return np.asarray(unit, np.float32)


def centre(features: Vectors) -> Space:
    """Centring alone, for galleries too small to whiten."""
    return Space(np.asarray(features, np.float64).mean(axis=0).astype(np.float32))


def whiten(features: Vectors) -> Space:
    """Centring and shrunken whitening, fitted on features float32 (n, f), n > 0.

    At most n - 1 components are kept; pictures that are all alike are only centred.
    """
    rows = np.asarray(features, np.float64)
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T, bias=True).reshape(len(mean), -1))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    keep = min(DIMS, len(rows) - 1, len(mean))
    shrink = SHRINKAGE * values[: min(256, keep)].mean() if keep else 0.0
    if not shrink > 0:  # all alike
        return Space(mean.astype(np.float32))
    scaled = vectors[:, :keep] / np.sqrt(values[:keep] + shrink)
    return Space(mean.astype(np.float32), np.ascontiguousarray(scaled.T, np.float32))


def background(around: Floats) -> Floats:
    """The tenth largest of each row, places that count not being -inf: (q, m) → (q,).

    Infinite where fewer than ten count: they do not tell what is near anyway, so nothing stands
    out of them, and a cap (see `Calibration`) takes its place.
    """
    rows = np.asarray(around, np.float64)
    place = BACKGROUND_RANK - 1
    if rows.shape[1] <= place:
        return np.full(len(rows), np.inf)
    tenth = -np.partition(-rows, place, axis=1)[:, place]
    return np.where(np.isfinite(tenth), tenth, np.inf)


def rising(values: Floats, weights: Floats) -> Floats:
    """The rising sequence that is nearest by weighted squares: pool adjacent violators.

    values, weights float64 (n,), weights > 0. Barlow et al., Statistical Inference under Order
    Restrictions (1972).
    """
    blocks: list[list[float]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, heavy, length = blocks.pop()
            last = blocks[-1]
            total = last[1] + heavy
            last[0] = (last[0] * last[1] + mean * heavy) / total
            last[1], last[2] = total, last[2] + length
    lengths = np.array([b[2] for b in blocks], np.int64)
    return np.repeat(np.array([b[0] for b in blocks], np.float64), lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A space, and the rising function from standing to match.

    `cap` bounds the background, so that a picture with many copies in the gallery still stands
    out. `standings` and `matches`, float64 (m,), both rising, are the function's corners: between
    them it is a straight line, outside them level. `images` is the gallery's size when it was
    fitted; `about` says on what, and how it did.
    """

    space: Space
    cap: float
    standings: Floats
    matches: Floats
    images: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def standing(self, scores: Floats, around: Floats) -> Floats:
        """Cosines of hits (q, k) and of the query's nearest (q, m) in the space → (q, k)."""
        level = np.minimum(background(around), self.cap)
        return np.asarray(np.asarray(scores, np.float64) - level[:, None], np.float64)

    def match(self, standing: Floats) -> Floats:
        """Standings of any shape → probabilities in 0..1."""
        return np.interp(standing, self.standings, self.matches)

    def of_ranking(self, query: Vectors, hits: Vectors, around: Vectors,
                   identical: Sequence[bool]) -> list[float]:  # fmt: skip
        """The matches of one query's hits, falling with their rank.

        query (d,), hits (k, d) in the order of their rank, around (m, d): vectors of the space.
        `identical` hits are the query's file, byte for byte: their match is 1, and so is that of
        hits before them. Where a later hit would match better than an earlier one, both get their
        mean: the evidence does not say which of them it is.
        """
        scores, near = (np.asarray(rows @ query, np.float64)[None] for rows in (hits, around))
        found = self.match(self.standing(scores, near))[0]
        same = np.flatnonzero(np.asarray(identical, bool))
        found[: same[-1] + 1 if len(same) else 0] = 1.0
        return [float(v) for v in rising(found[::-1], np.ones(len(found)))[::-1]]

    def to_bytes(self) -> bytes:
        """A NumPy `.npz` without pickle; components in half precision."""
        out = io.BytesIO()
        parts = self.space.components
        scale = 1.0 if parts is None else float(np.abs(parts).max()) or 1.0
        np.savez(
            out,
            version=np.array(VERSION),
            mean=self.space.mean,
            components=np.empty((0, 0), np.float16)
            if parts is None
            else (parts / scale).astype(np.float16),
            scale=np.array(scale),
            cap=np.array(self.cap),
            standings=self.standings,
            matches=self.matches,
            images=np.array(self.images),
            about=np.array(json.dumps(dict(self.about))),
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse; ValueError where the bytes are not a calibration."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                version = int(arrays["version"])
                parts = arrays["components"].astype(np.float32) * np.float32(arrays["scale"])
                space = Space(arrays["mean"].astype(np.float32), parts if parts.size else None)
                made = cls(
                    space, float(arrays["cap"]), arrays["standings"].astype(np.float64),
                    arrays["matches"].astype(np.float64), int(arrays["images"]),
                    dict(json.loads(str(arrays["about"]))),
                )  # fmt: skip
        except Exception as error:  # zipfile, NumPy and zlib each have their own
            raise ValueError(f"not a calibration: {error}") from None
        if version != VERSION:
            raise ValueError(f"version {version}; this cbir reads {VERSION}")
        made.check()
        return made

    def check(self) -> None:
        """ValueError where the parts do not fit each other, or the function is none."""
        mean, parts = self.space.mean, self.space.components
        if mean.ndim != 1 or (parts is not None and parts.shape[1:] != mean.shape):
            raise ValueError("its mean and components do not fit each other")
        if (
            self.matches.ndim != 1
            or not len(self.matches)
            or self.standings.shape != self.matches.shape
        ):
            raise ValueError("its standings and matches do not fit each other")
        values: list[NDArray[Any]] = [mean, self.standings, self.matches, np.array(self.cap)]
        values += [] if parts is None else [parts]
        if not all(np.isfinite(v).all() for v in values):
            raise ValueError("its numbers are not all finite")
        if np.any(np.diff(self.standings) < 0) or np.any(np.diff(self.matches) < 0):
            raise ValueError("it does not rise")
        if self.matches[0] < 0 or self.matches[-1] > 1:
            raise ValueError("its matches are not between 0 and 1")
