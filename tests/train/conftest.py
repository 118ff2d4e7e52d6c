"""A tiny real network, and pictures of classes that it can learn to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cbir.config import EmbedderSpec
from cbir.embed import Embedder
from cbir.images.augment import Augmentation
from cbir.train.finetune import Outcome, finetune
from cbir.train.prepared import Prepared, prepare
from cbir.train.recipe import Recipe
from cbir.train.samples import from_folders
from cbir.train.sampling import BatchSpec
from cbir.train.split import SplitSpec

SIDE = 32


def tiny_model(seed: int = 0, side: int = SIDE) -> Any:
    """Two convolutions with BatchNorm on 32 px (or another side), pooled to 16 numbers; a nested
    model, as stock embedders have one."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    inside = keras.Input((side, side, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv1")(inside)
    x = layers.BatchNormalization(name="norm1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="conv2")(x)
    x = layers.ReLU(name="relu2")(x)
    net = keras.Model(inside, x, name="tiny")
    start = keras.Input((side, side, 3), dtype="uint8", name="pixels")
    scaled = layers.Rescaling(1 / 127.5, -1.0, name="preprocess")(start)
    return keras.Model(start, layers.GlobalAveragePooling2D(name="gap")(net(scaled)))


@pytest.fixture
def tiny() -> Embedder:
    """The network as an embedder of 16 numbers."""
    spec = EmbedderSpec(backbone="test-tiny", weights="random:0", input_size=SIDE)
    return Embedder(spec, tiny_model())


@pytest.fixture
def classes_of(tmp_path: Path) -> Callable[..., Path]:
    """`classes_of(n, each)`: a folder for each class; a class is the place of a bright square, the
    rest is noise and colour that mean nothing."""

    def made(n: int = 9, each: int = 6, folder: str = "classes") -> Path:
        rng = np.random.default_rng(7)
        for label in range(n):
            place = tmp_path / folder / f"class{label}"
            place.mkdir(parents=True)
            for i in range(each):
                pixels = rng.integers(0, 100, (SIDE, SIDE, 3)) + rng.integers(0, 60, 3)
                y, x = divmod(label, 3)
                pixels[3 + y * 9 : 10 + y * 9, 3 + x * 9 : 10 + x * 9] += 90
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
        return tmp_path / folder

    return made


GENTLE = Augmentation(crop=0.9, ratio=1, flip=0)
RECIPE = Recipe(
    dims=8, layers="all", epochs=3, learning_rate=5e-3, batch=BatchSpec(6, 3), warm=0.0,
    augmentation=GENTLE, split=SplitSpec("class", duplicate=1.0), refit=False,
)  # fmt: skip


class Quiet:
    """Nobody looks."""

    def stage(self, name: str, total: int | None = None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass


Tuned = Callable[..., Outcome]


@pytest.fixture
def prepared(classes_of: Callable[..., Path], tiny: Embedder) -> Prepared:
    return prepare(from_folders(str(classes_of())), tiny, RECIPE, None, Quiet())


@pytest.fixture
def tuned(prepared: Prepared, tiny: Embedder, tmp_path: Path) -> Tuned:
    def run(recipe: Recipe = RECIPE, work: str = "work", **more: Any) -> Outcome:
        return finetune(prepared, tiny, recipe, str(tmp_path / work), Quiet(), **more)

    return run


class Cut(Exception):
    """The training is cut off here."""
