"""Galleries of made features, and of small pictures, for the tests of the calibrated match."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbir.config import IndexSpec
from cbir.evaluate.gallery import Gallery, of_features, of_files
from cbir.types import Vectors
from tests.conftest import GridEmbedder, picture


def made(features: Vectors, keys: Sequence[bytes] | None = None) -> Gallery:
    """A gallery of features float32 (n, f), without files."""
    names = keys or [f"{i:06d}".encode() for i in range(len(features))]
    files = [f"/photos/{name.decode()}.png" for name in names]
    return of_features("made", names, files, GridEmbedder(), features, IndexSpec())


def drawn(folder: Path, seeds: Sequence[int]) -> list[str]:
    """Small pictures, one a seed: their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i:04d}.png" for i in range(len(seeds))]
    for file, seed in zip(files, seeds, strict=True):
        picture(seed).save(file)
    return [str(file) for file in files]


def small(folder: Path, n: int) -> Gallery:
    """A gallery of n small pictures, by the tiny embedder."""
    return of_files("small", drawn(folder, range(n)), GridEmbedder(), IndexSpec())
