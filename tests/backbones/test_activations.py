"""Activation maps: those of the layers themselves, of stock and of saved embedders; filters."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from cbir.backbones import backbone
from cbir.backbones.activations import activation_maps, first_filters
from cbir.config import EmbedderSpec
from cbir.embed import Embedder
from cbir.errors import EmbedderError, UsageError
from tests.backbones.photos import SAVING, noise, photo


def made(name: str, size: int, cut: str = "") -> Embedder:
    return Embedder.from_spec(EmbedderSpec(name, "random:0", cut=cut, input_size=size))


def test_maps_of_lenet_are_those_of_its_layers() -> None:
    embedder = made("lenet5", 32)
    pixels = photo("coffee.png", 32)
    found = activation_maps(embedder.model, pixels[0])
    assert [(one.layer, one.maps.shape) for one in found] == [
        ("c1", (28, 28, 6)), ("c3", (10, 10, 16)), ("c5", (1, 1, 120)),
    ]  # fmt: skip
    scaled = pixels.astype(np.float32) * (1.275 / 255) - 0.1
    for one in found:
        alone = backbone(EmbedderSpec("lenet5", "random:0", cut=one.layer, input_size=32))
        expected = np.asarray(alone(scaled))[0]
        np.testing.assert_allclose(one.maps, expected, rtol=1e-4, atol=1e-5)


def test_normalisation_and_activation_that_follow_are_applied() -> None:
    embedder = made("efficientnet-lite0", 32)
    pixels = noise(1, 32)[0]
    found = {one.layer: one for one in activation_maps(embedder.model, pixels)}
    assert found["stem_conv"].after == ("BatchNormalization", "ReLU")
    assert found["block1_project_conv"].after == ("BatchNormalization",)
    (relu,) = activation_maps(embedder.model, pixels, ["stem_relu6"])
    np.testing.assert_array_equal(found["stem_conv"].maps, relu.maps)
    assert relu.maps.min() >= 0 and relu.after == ()


def test_a_branch_ends_what_follows() -> None:
    """The sum of a residual unit, and what two layers read, belong to no convolution."""
    found = {one.layer: one.after for one in activation_maps(
        made("resnet20", 16).model, noise(1, 16)[0])}  # fmt: skip
    assert found["conv2_1_conv1"] == ("BatchNormalization", "ReLU")
    assert found["conv2_1_conv2"] == ("BatchNormalization",)
    assert len(found) == 19


def test_chosen_layers_in_their_order() -> None:
    embedder = made("lenet5", 32)
    found = activation_maps(embedder.model, noise(1, 32)[0], ["s4", "c1"])
    assert [one.layer for one in found] == ["s4", "c1"]
    with pytest.raises(UsageError, match="received 'c9'"):
        activation_maps(embedder.model, noise(1, 32)[0], ["c9"])
    with pytest.raises(UsageError, match=r"f6 gives \(84,\)"):
        activation_maps(embedder.model, noise(1, 32)[0], ["f6"])


@SAVING
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_of_a_saved_embedder(name: str, tmp_path: Path) -> None:
    size, cut = (67, "conv3") if name == "alexnet" else (32, "block2_pool")
    embedder = made(name, size, cut)
    embedder.save(tmp_path / "saved")
    loaded = Embedder.load(tmp_path / "saved")
    pixels = noise(1, size)[0]
    before = activation_maps(embedder.model, pixels)
    after = activation_maps(loaded.model, pixels)
    assert [one.layer for one in before] == [one.layer for one in after]
    assert len(before) == (3 if name == "alexnet" else 4)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a.maps, b.maps, rtol=1e-5, atol=1e-4)


def test_first_filters() -> None:
    name, filters = first_filters(made("vgg16", 32).model) or ("", np.empty(0))
    assert name == "block1_conv1" and filters.shape == (64, 3, 3, 3)
    name, filters = first_filters(made("lenet5", 32).model) or ("", np.empty(0))
    assert name == "c1" and filters.shape == (6, 5, 5, 1)
    net = made("vgg16", 32).model.layers[-2]
    kernel = net.get_layer("block1_conv1").get_weights()[0]
    found = first_filters(made("vgg16", 32).model)
    assert found is not None
    np.testing.assert_array_equal(found[1][5], kernel[:, :, :, 5])


def test_a_model_without_a_network_inside() -> None:
    start = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(start, keras.layers.Rescaling(1.0)(start), name="plain")
    with pytest.raises(EmbedderError, match="plain: expected a model with a network inside"):
        activation_maps(model, noise(1, 4)[0])
