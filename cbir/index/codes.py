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
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cbir.types import Ids, Vectors

SPAN = 5.0
"""Deviations that the range holds on either side; what lies beyond is cut off."""
BLOCK = 64
"""Coordinates are shuffled, and rotated in blocks of this length, all by the same rotation: it is
small enough to stay in a core's cache from query to query."""
_MIDDLE = 128
_FAR = 255
"""Every coordinate of a row without direction: farther from all others than they can be."""


@lru_cache(maxsize=8)
def _turns(dims: int) -> tuple[Ids, NDArray[np.float32], NDArray[np.float32]]:
    """The order of the coordinates, int64 (d,); the rotation of whole blocks and that of what is
    left over, orthogonal float32. The same everywhere."""
    rng = np.random.RandomState(20_240_611)  # this generator's numbers never change
    order = rng.permutation(dims).astype(np.int64)
    whole, rest = (_orthogonal(rng, size) for size in (BLOCK, dims % BLOCK))
    return order, whole, rest


def _orthogonal(rng: np.random.RandomState, size: int) -> NDArray[np.float32]:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), np.float32)


def _turn(rows: Vectors, whole: NDArray[np.float32], rest: NDArray[np.float32]) -> Vectors:
    """Each block of float32 (n, d) times a rotation; a new array."""
    n, dims = rows.shape
    blocks = dims // BLOCK
    if not len(rest):
        return (rows.reshape(n * blocks, BLOCK) @ whole).reshape(n, dims)
    turned = np.empty((n, dims), np.float32)
    edge = blocks * BLOCK
    if blocks:
        parts = np.ascontiguousarray(rows[:, :edge]).reshape(n * blocks, BLOCK)
        turned[:, :edge] = (parts @ whole).reshape(n, edge)
    turned[:, edge:] = rows[:, edge:] @ rest
    return turned


def scale(dims: int) -> float:
    """Steps in a length of 1."""
    return 126 / min(1.0, SPAN / math.sqrt(dims))


def encode(rows: Vectors) -> Vectors:
    """Unit rows float32 (n, d) → whole numbers 0 to 255, as float32 (n, d), which FAISS takes."""
    dims = rows.shape[1]
    order, whole, rest = _turns(dims)
    turned = _turn(np.asarray(rows[:, order], np.float32), whole, rest)
    turned *= np.float32(scale(dims))
    np.rint(turned, out=turned)
    turned += _MIDDLE
    np.clip(turned, 0, 255, out=turned)
    turned[~rows.any(axis=1)] = _FAR
    return turned


def decode(codes: Vectors) -> Vectors:
    """What codes stand for, float32 (n, d): the rows again, but for rounding; zero rows as zero."""
    dims = codes.shape[1]
    order, whole, rest = _turns(dims)
    shuffled = _turn((codes - _MIDDLE) / np.float32(scale(dims)), whole.T, rest.T)
    rows = np.empty(codes.shape, np.float32)
    rows[:, order] = shuffled
    rows[(codes == _FAR).all(axis=1)] = 0
    return rows


def cosines(distances: Vectors, dims: int) -> Vectors:
    """Squared distances of codes → cosines of unit vectors, about."""
    return np.asarray(1 - distances / np.float32(2 * scale(dims) ** 2), np.float32)
