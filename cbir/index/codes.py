"""One byte a dimension, the same for every gallery: unit vectors ↔ whole numbers from 0 to 255.

A fixed random rotation makes the coordinates of any unit vector of d dims look normally distributed
with deviation 1/√d (so does RaBitQ: Gao and Long, SIGMOD 2024, section 3.1), whatever the vectors'
own directions are. So one range serves all: ±5/√d, with 255 steps; nothing is learned, and pictures
that come later cannot lie outside of what was learned. Both sides being whole numbers, FAISS
compares them without decoding: the squared distance of two codes is that of the vectors times
`scale(d)`², but for rounding; for unit vectors it falls as the cosine rises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cbir.types import Ids, Vectors

SPAN = 5.0
"""Deviations that the range holds on either side; what lies beyond is cut off."""
BLOCK = 64
"""Coordinates are mixed within blocks of this length, then across them: two small rotations that
stay in a core's cache from query to query, where one of d x d would not."""
_MIDDLE = 128
_FAR = 255
"""Every coordinate of a row without direction: farther from all others than they can be."""


@dataclass(frozen=True, slots=True)
class Turns:
    """A rotation of d coordinates, made of small ones.

    order    the coordinates are shuffled first, int64 (d,)
    within   rotates each block of `BLOCK` coordinates (all of them where there are fewer)
    across   rotates what stands at one place of all blocks; float32 both
    """

    order: Ids
    within: NDArray[np.float32]
    across: NDArray[np.float32]

    def forth(self, rows: Vectors) -> Vectors:
        """Float32 (n, d) → the same turned, a new array."""
        turned = np.take(np.asarray(rows, np.float32), self.order, axis=1)
        for part in self._parts(turned):
            part[:] = self.across @ (part @ self.within)
        return turned

    def back(self, turned: Vectors) -> Vectors:
        """The inverse."""
        shuffled = np.array(turned, np.float32, order="C")
        for part in reversed(self._parts(shuffled)):
            part[:] = (self.across.T @ part) @ self.within.T
        rows = np.empty_like(shuffled)
        rows[:, self.order] = shuffled
        return rows

    def _parts(self, rows: Vectors) -> list[Vectors]:
        """Views (n, blocks, block) of what is turned, one after the other: the first whole blocks,
        and where something is left over, as many that end with the last coordinate."""
        n, dims = rows.shape
        blocks, block = len(self.across), len(self.within)
        edge = blocks * block
        starts = [0] if edge == dims else [0, dims - edge]
        item = rows.itemsize
        return [
            np.lib.stride_tricks.as_strided(
                rows[:, start:], (n, blocks, block), (dims * item, block * item, item)
            )
            for start in starts
        ]


@lru_cache(maxsize=8)
def turns(dims: int) -> Turns:
    """The rotation for vectors of this length; the same everywhere."""
    rng = np.random.RandomState(20_240_611)  # this generator's numbers never change
    order = rng.permutation(dims).astype(np.int64)
    block = min(BLOCK, dims)
    return Turns(order, _orthogonal(rng, block), _orthogonal(rng, dims // block))


def _orthogonal(rng: np.random.RandomState, size: int) -> NDArray[np.float32]:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), np.float32)


def scale(dims: int) -> float:
    """Steps in a length of 1."""
    return 126 / min(1.0, SPAN / math.sqrt(dims))


def encode(rows: Vectors) -> Vectors:
    """Unit rows float32 (n, d) → whole numbers 0 to 255, as float32 (n, d), which FAISS takes."""
    dims = rows.shape[1]
    turned = turns(dims).forth(rows)
    turned *= np.float32(scale(dims))
    np.rint(turned, out=turned)
    turned += _MIDDLE
    np.clip(turned, 0, 255, out=turned)
    turned[~rows.any(axis=1)] = _FAR
    return turned


def decode(codes: Vectors) -> Vectors:
    """What codes stand for, float32 (n, d): the rows again, but for rounding; zero rows as zero."""
    dims = codes.shape[1]
    rows = turns(dims).back((codes - _MIDDLE) / np.float32(scale(dims)))
    rows[(codes == _FAR).all(axis=1)] = 0
    return rows


def cosines(distances: Vectors, dims: int) -> Vectors:
    """Squared distances of codes → cosines of unit vectors, about."""
    return np.asarray(1 - distances / np.float32(2 * scale(dims) ** 2), np.float32)
