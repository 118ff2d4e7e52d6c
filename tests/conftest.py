"""What the tests share: small real pictures, and an embedder that needs no neural network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.config import EmbedderSpec
from cbir.types import Pixels, Vectors

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Networks are not compiled but where a test is about that: it takes seconds for each.
os.environ.setdefault("CBIR_RUNTIME", "keras")


class GridEmbedder:
    """A real, tiny embedder: mean colours of a 4 x 4 grid, 48 numbers, plain NumPy.

    `seen` counts the images that were embedded.
    """

    def __init__(self, size: int = 32, salt: str = "") -> None:
        self.spec = EmbedderSpec(backbone="test-grid", weights="random:0", input_size=size)
        self.fingerprint = hashlib.sha256((self.spec.canonical() + salt).encode()).hexdigest()[:32]
        self.feature_dims = 48
        self.seen = 0

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, 48)."""
        n, side = len(pixels), self.spec.input_size // 4
        self.seen += n
        cells = pixels.reshape(n, 4, side, 4, side, 3).astype(np.float32).mean(axis=(2, 4))
        return np.ascontiguousarray(cells.reshape(n, 48) / 255 + 0.01, np.float32)


@pytest.fixture
def grid() -> GridEmbedder:
    """The tiny embedder."""
    return GridEmbedder()


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A small smooth picture that differs for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """`draw(name, seed)` writes a PNG (or what the suffix says) below tmp_path/photos."""

    def made(name: str, seed: int, folder: str = "photos") -> Path:
        file = tmp_path / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(file)
        return file

    return made


@pytest.fixture
def photos(draw: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with twelve pictures in two subfolders."""
    for i in range(12):
        draw(f"{'ab'[i % 2]}/{i:02d}.png", seed=i)
    return tmp_path / "photos"
