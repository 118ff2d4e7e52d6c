"""Our own layers against plain loops, and through a `.keras` file in safe mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.backbones.applications import custom_objects
from cbir.backbones.layers import (
    OWN,
    Grey,
    GroupedConv2D,
    LocalResponseNormalization,
    PaddedShortcut,
)
from tests.backbones.photos import SAVING


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("channels", "size"), [(1, 5), (3, 5), (8, 5), (8, 3), (8, 4), (2, 1)])
def test_local_response_normalisation_is_the_papers_sum(channels: int, size: int) -> None:
    a = values(2, 3, 4, channels) * 30
    expected = np.empty_like(a)
    for i in range(channels):
        first, last = i - (size - 1) // 2, i + size // 2
        total = np.zeros(a.shape[:3])
        for j in range(max(0, first), min(channels - 1, last) + 1):
            total += a[..., j].astype(np.float64) ** 2
        expected[..., i] = a[..., i] / (2 + 1e-4 * total) ** 0.75
    found = np.asarray(LocalResponseNormalization(size=size)(a))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_grouped_convolution_sees_its_own_channels(padding: str, stride: int) -> None:
    import keras

    x = values(2, 7, 7, 6)
    layer = GroupedConv2D(4, 3, stride, padding=padding, groups=2, bias_initializer="ones")
    found = np.asarray(layer(x))
    kernel, bias = layer.get_weights()
    assert kernel.shape == (3, 3, 3, 4) and bias.tolist() == [1] * 4
    for group in range(2):
        one = keras.layers.Conv2D(2, 3, stride, padding=padding)
        one.build((None, 7, 7, 3))
        one.set_weights([kernel[..., 2 * group : 2 * group + 2], np.ones(2, np.float32)])
        own = np.asarray(one(np.ascontiguousarray(x[..., 3 * group : 3 * group + 3])))
        np.testing.assert_allclose(found[..., 2 * group : 2 * group + 2], own, rtol=1e-4, atol=1e-5)


def test_grey_is_the_weighted_sum() -> None:
    x = values(1, 2, 2, 3)
    found = np.asarray(Grey()(x))
    assert found.shape == (1, 2, 2, 1)
    red, green, blue = np.moveaxis(x, -1, 0)
    np.testing.assert_allclose(found[..., 0], 0.299 * red + 0.587 * green + 0.114 * blue, rtol=1e-5)
    same = np.full((1, 2, 2, 3), 0.7, np.float32)
    np.testing.assert_allclose(np.asarray(Grey()(same)), 0.7, rtol=1e-6)


@pytest.mark.parametrize("side", [4, 5])
def test_the_shortcut_without_parameters(side: int) -> None:
    x = values(2, side, side, 3)
    found = np.asarray(PaddedShortcut(5, 2)(x))
    np.testing.assert_array_equal(found[..., :3], x[:, ::2, ::2])
    assert not found[..., 3:].any() and found.shape[-1] == 5
    assert PaddedShortcut(5, 2).compute_output_shape((2, side, side, 3)) == found.shape


@SAVING
def test_all_of_them_come_back_from_a_file(tmp_path: Path) -> None:
    import keras

    x: Any = keras.Input((8, 8, 3))
    start = x
    for layer in (
        GroupedConv2D(6, 3, groups=3), LocalResponseNormalization(3, 1.5, 0.1, 0.6),
        PaddedShortcut(9, 2), keras.layers.Conv2D(3, 1), Grey(),
    ):  # fmt: skip
        x = layer(x)
    model = keras.Model(start, x)
    assert {f"cbir>{type(layer).__name__}" for layer in model.layers} >= set(OWN)
    model.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(
        tmp_path / "own.keras", custom_objects=custom_objects(), safe_mode=True
    )
    data = values(2, 8, 8, 3)
    np.testing.assert_array_equal(np.asarray(model(data)), np.asarray(loaded(data)))
