"""What tests of the networks share: photographs of scikit-image, and a filter of warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from cbir.types import Pixels

SAVING = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
"""For tests that let Keras save weights, where TensorFlow lags behind NumPy 2."""


def photo(name: str, size: int) -> Pixels:
    """A photograph of scikit-image, squashed: uint8 (1, size, size, 3)."""
    file = Path(skimage.__file__).parent / "data" / name
    with Image.open(file) as image:
        small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small)[None]


def noise(n: int, size: int, seed: int = 0) -> Pixels:
    """Random pixels, uint8 (n, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
