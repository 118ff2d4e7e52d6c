"""Local binary patterns: texture by what is lighter than its middle, whatever the light.

Ojala, Pietikäinen and Mäenpää, Multiresolution gray-scale and rotation invariant texture
classification with local binary patterns (PAMI 2002): rotation-invariant uniform patterns, several
radii. A picture's grid of parts is described part by part, as faces are in Ahonen, Hadid and
Pietikäinen (ECCV 2004), since where a texture is tells categories apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cbir.config import EmbedderSpec, Settings
from cbir.evaluate.classical.pictures import each
from cbir.types import Pixels, Vectors


@dataclass(frozen=True, slots=True)
class LbpSpec(Settings):
    """Which circles are compared with their middle, and which parts of the picture are counted.

    points, radii  neighbours on a circle and its radius in pixels, circle by circle
    grids          parts along a side: 1 is the whole picture, 4 is 4 x 4 parts
    """

    points: tuple[int, ...] = (8, 16, 24)
    radii: tuple[int, ...] = (1, 2, 3)
    grids: tuple[int, ...] = (1, 2, 4)

    @property
    def dims(self) -> int:
        """Length of a descriptor: points + 2 counts a circle and part."""
        return sum(p + 2 for p in self.points) * sum(g * g for g in self.grids)


def lbp(pixels: Pixels, spec: LbpSpec) -> Vectors:
    """Uint8 (n, s, s, 3) → float32 (n, spec.dims), unit length.

    Order: circle, grid, part (row by row), pattern. The root of each count's share is taken, so
    that the dot product of two rows is the mean Bhattacharyya coefficient over circles and grids;
    the parts of a grid count together as much as the whole picture.
    """
    made = each(lambda image: _describe(image, spec), pixels)
    return np.array(made, np.float32).reshape(len(pixels), spec.dims)


def _describe(image: Pixels, spec: LbpSpec) -> Vectors:
    from skimage.feature import local_binary_pattern

    patterns: Any = local_binary_pattern  # it has no annotations
    luma = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    counts = []
    for points, radius in zip(spec.points, spec.radii, strict=True):
        codes = np.asarray(patterns(luma, points, radius, "uniform"), np.int64)
        for parts in spec.grids:
            counts.append(_counts(codes, parts, points + 2))
    whole = np.concatenate(counts) / (luma.size * len(spec.points) * len(spec.grids))
    return np.asarray(np.sqrt(whole), np.float32)


def _counts(codes: np.ndarray, parts: int, patterns: int) -> np.ndarray:
    """How often each pattern comes in each part, float64 (parts * parts * patterns,)."""
    rows = np.arange(codes.shape[0]) * parts // codes.shape[0]
    columns = np.arange(codes.shape[1]) * parts // codes.shape[1]
    place = (rows[:, None] * parts + columns) * patterns + codes
    return np.bincount(place.ravel(), minlength=parts * parts * patterns).astype(np.float64)


class LocalBinaryPatterns:
    """Local binary patterns as an embedder."""

    def __init__(self, lbp_spec: LbpSpec | None = None) -> None:
        self.lbp_spec = lbp_spec or LbpSpec()
        self.spec = EmbedderSpec("classical/lbp", "none", input_size=224)
        self.fingerprint = f"classical-lbp-1-{self.lbp_spec.canonical()}"
        self.feature_dims = self.lbp_spec.dims

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, 1134)."""
        return lbp(pixels, self.lbp_spec)
