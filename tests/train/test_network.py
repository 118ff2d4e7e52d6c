"""The network that learns and its way back: heads that begin where projections are, float32 out."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cbir.backbones.nested import flat_layers, set_precision
from cbir.embed import Embedder, fit
from cbir.train.network import (
    ANY,
    feature_head,
    own_copy,
    to_embedder,
    unit_features,
    with_head,
    with_layer,
)
from cbir.types import Pixels, Vectors


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


def unit(rows: Vectors) -> Vectors:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_head_begins_at_the_projection(tiny: Embedder, pixels: Pixels) -> None:
    features = tiny.features(pixels)
    start = fit(features, 5)
    expected = start.apply(features)
    assert np.allclose(
        unit_features(with_head(tiny.model, start, 5, 0), pixels), expected, atol=1e-4
    )
    alone = feature_head(16, start, 5, 0)
    assert np.allclose(unit_features(alone, features), expected, atol=1e-4)
    longer = unit_features(with_head(tiny.model, start, 9, 0), pixels)
    assert longer.shape == (40, 9)
    assert np.allclose(longer @ longer.T, expected @ expected.T, atol=0.01)
    again = with_head(tiny.model, None, 9, 3).get_layer("head").get_weights()[0]
    assert np.allclose(again.T @ again, np.eye(9), atol=1e-5)


def test_an_embedder_that_was_trained_is_trained_again(tiny: Embedder, pixels: Pixels) -> None:
    made = tiny
    for _ in range(3):
        made = to_embedder(with_head(own_copy(made.model), None, 6, 0), made)
    assert made.features(pixels).shape == (40, 6)
    kernel, bias = np.eye(6, 4, dtype=np.float32), np.zeros(4, np.float32)
    assert np.allclose(
        unit_features(with_layer(made.model, kernel, bias), pixels),
        unit(made.features(pixels) @ kernel), atol=1e-4,
    )  # fmt: skip
    assert [layer.name for layer in made.model.layers].count("head") == 1


def test_no_head_is_the_features_themselves(tiny: Embedder, pixels: Pixels) -> None:
    found = unit_features(with_head(tiny.model, None, 0, 0), pixels)
    assert np.allclose(found, unit(tiny.features(pixels)), atol=1e-5)


def test_one_device_gives_what_all_give(tiny: Embedder, pixels: Pixels) -> None:
    network = with_head(tiny.model, None, 4, 0)
    assert np.allclose(
        unit_features(network, pixels), unit_features(network, pixels, whole=True), atol=1e-5
    )


def test_the_embedder_is_a_copy_with_unit_features(tiny: Embedder, pixels: Pixels) -> None:
    kernel = np.random.default_rng(1).normal(size=(16, 6)).astype(np.float32)
    bias = np.arange(6, dtype=np.float32)
    network = with_layer(tiny.model, kernel, bias)
    made = to_embedder(network, tiny)
    expected = unit(tiny.features(pixels) @ kernel + bias)
    assert np.allclose(made.features(pixels), expected, atol=1e-5)
    assert made.spec.weights == "trained" and made.spec.carried
    network.set_weights([0 * w for w in network.get_weights()])
    assert np.allclose(made.features(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_what_was_trained_in_mixed_precision_is_saved_in_float32(
    tiny: Embedder, pixels: Pixels, policy: str
) -> None:
    network = with_head(own_copy(tiny.model), None, 4, 0)
    plain = unit_features(network, pixels)
    set_precision(network, policy, but=("head",))
    used = {layer.name: layer.compute_dtype for layer in flat_layers(network) if layer.weights}
    assert used["conv2"] == policy.removeprefix("mixed_") and used["head"] == "float32"
    assert all(keras.backend.standardize_dtype(v.dtype) == "float32" for v in network.weights)
    made = to_embedder(network, tiny)
    assert {layer.compute_dtype for layer in flat_layers(made.model)} == {"float32"}
    assert np.allclose(made.features(pixels), plain, atol=1e-5)


def test_a_copy_for_any_size_gives_what_the_network_gives(tiny: Embedder, pixels: Pixels) -> None:
    free = own_copy(tiny.model, ANY)
    assert free.input_shape == (None, None, None, 3)
    assert np.allclose(free(pixels, training=False), tiny.features(pixels), atol=1e-5)
    larger = np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)
    assert free(larger, training=False).shape == (40, 16)
    kernel = tiny.model.get_layer("tiny").get_layer("conv1").get_weights()[0]
    free.set_weights([0 * w for w in free.get_weights()])
    assert np.array_equal(tiny.model.get_layer("tiny").get_layer("conv1").get_weights()[0], kernel)
    assert kernel.any()


def test_what_learned_at_another_size_is_saved_at_the_embedder_s(
    tiny: Embedder, pixels: Pixels
) -> None:
    network = with_head(own_copy(tiny.model, ANY), None, 6, 0)
    made = to_embedder(network, tiny)
    assert made.model.input_shape == (None, 32, 32, 3)
    assert made.model.get_layer("tiny").input_shape == (None, 32, 32, 3)
    assert np.allclose(made.features(pixels), unit_features(network, pixels), atol=1e-5)
    larger = to_embedder(network, tiny, 64)
    assert larger.spec.input_size == 64 and larger.model.input_shape == (None, 64, 64, 3)
    wide = np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)
    assert np.allclose(larger.features(wide), unit_features(network, wide), atol=1e-5)


def test_a_network_for_one_size_says_so() -> None:
    start = keras.Input((8, 8, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(start))
    with pytest.raises(ValueError, match="[Ss]hape|None"):
        own_copy(keras.Model(start, keras.layers.Dense(4)(flat)), ANY)
