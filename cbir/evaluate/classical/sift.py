"""Dense SIFT: Lowe's local descriptor on a regular grid, at several sizes, upright.

On a grid instead of at keypoints, since categories are told apart by what fills the picture more
than by its corners: Bosch et al., Image classification using random forests and ferns (ICCV 2007),
Chatfield et al., The devil is in the details (BMVC 2011). Everything is linear but for the
gradient's length and direction, and separable, so it is done by a few matrix products a picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from cbir.config import Settings
from cbir.types import Pixels, Vectors

CELLS = 4
ORIENTATIONS = 8
LENGTH = CELLS * CELLS * ORIENTATIONS
_CLIP = 0.2


@dataclass(frozen=True, slots=True)
class SiftSpec(Settings):
    """Where descriptors are taken, and at which sizes.

    cells     widths of a cell, pixels; a descriptor spans 4 x 4 cells
    step      pixels between neighbours of the grid
    blur      smoothing (a Gaussian's sigma) as a share of the cell's width
    contrast  patches whose mean gradient (of grey 0..1, a pixel) is below this are left out
    """

    cells: tuple[int, ...] = (5, 8, 12, 18)
    step: int = 6
    blur: float = 0.25
    contrast: float = 0.002


def grey(pixels: Pixels) -> Vectors:
    """Uint8 (h, w, 3) → luma of ITU-R BT.601, float32 (h, w), 0..1."""
    weights = np.array([0.299, 0.587, 0.114], np.float32) / 255
    return np.asarray(pixels.astype(np.float32) @ weights, np.float32)


def dense_sift(image: Vectors, spec: SiftSpec) -> tuple[Vectors, Vectors]:
    """Grey float32 (s, s), 0..1 → RootSIFT float32 (m, 128) and places float32 (m, 3).

    A place is row and column of the patch's middle, in shares of the side from -0.5 to 0.5, and
    the logarithm (base 2) of the patch's width as a share of the side. Lowe, Distinctive image
    features from scale-invariant keypoints (IJCV 2004), section 6; the square root after scaling
    to a sum of one: Arandjelović and Zisserman, Three things everyone should know to improve object
    retrieval (CVPR 2012), section 3.
    """
    side = len(image)
    found, places = [np.zeros((0, LENGTH), np.float32)], [np.zeros((0, 3), np.float32)]
    for cell in spec.cells:
        middles = grid(side, cell, spec.step)
        if not len(middles):
            continue
        rows = _histograms(image, cell, spec)
        mass = float(_windows(side, cell, spec.step)[0].sum()) ** 2
        kept = np.linalg.norm(rows, axis=1) > spec.contrast * mass / CELLS
        found.append(_root(rows[kept]))
        share = (middles + 0.5) / side - 0.5
        row, column = np.meshgrid(share, share, indexing="ij")
        size = np.full(row.size, np.log2(CELLS * cell / side))
        places.append(np.stack([row.ravel(), column.ravel(), size], 1)[kept].astype(np.float32))
    return np.concatenate(found), np.concatenate(places)


def grid(side: int, cell: int, step: int) -> Vectors:
    """Middles of the patches along one side, float32 (g,): evenly spread, all patches inside."""
    reach = CELLS * cell / 2
    first, last = reach - 0.5, side - 0.5 - reach
    if last < first:
        return np.zeros(0, np.float32)
    count = int((last - first) // step) + 1
    start = first + ((last - first) - (count - 1) * step) / 2
    return np.asarray(start + step * np.arange(count), np.float32)


def _histograms(image: Vectors, cell: int, spec: SiftSpec) -> Vectors:
    """Unscaled descriptors float32 (g * g, 128): rows of cells, columns of cells, orientations."""
    side = len(image)
    smooth, slope = _filters(side, cell * spec.blur)
    down = slope @ image @ smooth.T
    right = smooth @ image @ slope.T
    length = np.hypot(down, right)
    turn = np.arctan2(down, right) * (ORIENTATIONS / (2 * np.pi))
    low = np.floor(turn)
    share = turn - low
    bins = low.astype(np.int64) % ORIENTATIONS
    first, second = length * (1 - share), length * share
    window = _windows(side, cell, spec.step)  # (g * 4, s)
    maps = np.zeros((ORIENTATIONS, side, side), np.float32)
    place = np.arange(side * side).reshape(side, side)
    flat = maps.reshape(-1)
    flat[bins * (side * side) + place] = first
    flat[(bins + 1) % ORIENTATIONS * (side * side) + place] = second
    cells = np.asarray(window @ maps @ window.T, np.float32)
    count = len(window) // CELLS
    shaped = cells.reshape(ORIENTATIONS, count, CELLS, count, CELLS)
    return np.ascontiguousarray(shaped.transpose(1, 3, 2, 4, 0)).reshape(count * count, LENGTH)


@functools.lru_cache(maxsize=64)
def _filters(side: int, sigma: float) -> tuple[Vectors, Vectors]:
    """Matrices (s, s) that smooth, and that smooth and differentiate; mirrored at the borders."""
    reach = int(np.ceil(4 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    smooth = np.zeros((side, side))
    for offset, weight in zip(offsets, weights, strict=True):
        at = np.arange(side) + offset
        at = np.abs(at + 0.5) - 0.5
        at = np.where(at >= side, 2 * side - 1 - at, at).astype(int)
        np.add.at(smooth, (np.arange(side), np.clip(at, 0, side - 1)), weight)
    slope = np.asarray(np.gradient(smooth, axis=0), np.float32)
    return smooth.astype(np.float32), slope


@functools.lru_cache(maxsize=64)
def _windows(side: int, cell: int, step: int) -> Vectors:
    """Weights (g * 4, s) of the pixels of a line in each cell: linear between the middles of two
    cells, under a Gaussian of the whole patch whose sigma is half the patch's width."""
    middles = grid(side, cell, step)
    pixel = np.arange(side)
    made = []
    for middle in middles:
        for i in range(CELLS):
            centre = middle + (i - (CELLS - 1) / 2) * cell
            share = np.maximum(0, 1 - np.abs(pixel - centre) / cell)
            made.append(share * np.exp(-0.5 * ((pixel - middle) / (CELLS / 2 * cell)) ** 2))
    return np.array(made, np.float32).reshape(len(middles) * CELLS, side)


def _root(rows: Vectors) -> Vectors:
    """Unit length, no entry above .2, unit length again; then the root of each entry's share."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    clipped = np.minimum(unit, _CLIP)
    return np.asarray(np.sqrt(clipped / clipped.sum(axis=1, keepdims=True)), np.float32)
