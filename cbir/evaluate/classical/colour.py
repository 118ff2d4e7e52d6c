"""Colour histograms: which colours a picture has, and how much of each."""

from __future__ import annotations

import numpy as np

from cbir.config import EmbedderSpec
from cbir.types import Pixels, Vectors

BINS = 8


def colour_histogram(pixels: Pixels, bins: int = BINS) -> Vectors:
    """Joint RGB histograms: uint8 (n, h, w, 3) → float32 (n, bins**3), unit length.

    The square root of the counts is taken, so that the dot product of two rows is their
    Bhattacharyya coefficient. After Swain and Ballard, Color Indexing (IJCV 1991).
    """
    rows = []
    for image in pixels:
        level = image.astype(np.int64) * bins // 256
        code = (level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]
        rows.append(np.sqrt(np.bincount(code.ravel(), minlength=bins**3)))
    found = np.array(rows, np.float32).reshape(len(pixels), bins**3)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


class ColourHistogram:
    """The colour histogram as an embedder: the floor of every table."""

    def __init__(self) -> None:
        self.spec = EmbedderSpec("classical/colour", "none", input_size=224)
        self.fingerprint = f"classical-colour-{BINS}-1"
        self.feature_dims = BINS**3

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, 512)."""
        return colour_histogram(pixels)
