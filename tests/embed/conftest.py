"""Embedders that several tests use; each is built once."""

from __future__ import annotations

import pytest

from cbir.config import EmbedderSpec
from cbir.embed import Embedder

TINY = EmbedderSpec("mobilenetv3small", "random:0", cut="activation_2", input_size=32)
"""96 numbers from the first layers of a small net with random weights."""


@pytest.fixture(scope="session")
def tiny() -> Embedder:
    """The embedder of TINY."""
    return Embedder.from_spec(TINY)


@pytest.fixture(scope="session")
def lite0() -> Embedder:
    """The default embedder, with its ImageNet weights."""
    return Embedder.load("efficientnet-lite0")
