"""A classifier on any backbone: what it is made of, its auxiliary heads, and how it is cut."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from cbir.backbones import classifier, training_model, truncated_classifier
from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError
from tests.backbones.photos import noise


def test_lenet5_has_61706_parameters() -> None:
    model = classifier("lenet5", 10)
    assert model.count_params() == 61_706
    assert model.input_shape == (None, 32, 32, 3) and model.input.dtype == "uint8"
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(("name", "size"), [("resnet20", 16), ("efficientnet-lite0", 32)])
def test_a_feature_map_is_averaged(name: str, size: int) -> None:
    model = classifier(name, 3, size)
    assert [layer.name for layer in model.layers][-2:] == ["gap", "logits"]
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("name", "size", "rate"), [("googlenet", 32, 0.4), ("zfnet", 63, 0.5), ("lenet5", 32, 0.0)]
)
def test_dropout_before_the_classifier(name: str, size: int, rate: float) -> None:
    found = [one.rate for one in classifier(name, 2, size).layers if one.name == "dropout"]
    assert found == ([rate] if rate else [])


def test_weights_depend_on_the_seed_alone() -> None:
    random.seed(3)
    before = random.getstate()
    first = classifier("resnet20", 4, 16, seed=1).get_weights()
    assert random.getstate() == before
    random.seed(4)
    again = classifier("resnet20", 4, 16, seed=1).get_weights()
    other = classifier("resnet20", 4, 16, seed=2).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_auxiliary_heads_of_googlenet() -> None:
    """Szegedy et al. 2015, section 5: on 4a and 4d, 5 x 5 of stride 3, 128, 1024, 70 %."""
    model = classifier("googlenet", 5)
    trained, shares = training_model(model)
    assert shares == [1.0, 0.3, 0.3]
    assert [tensor.shape for tensor in trained.outputs] == [(None, 5)] * 3
    inner = next(layer for layer in trained.layers if layer.name == "net_with_auxiliary")
    pooled = [inner.get_layer(f"auxiliary{i}_pool").output.shape for i in (1, 2)]
    assert pooled == [(None, 4, 4, 512), (None, 4, 4, 528)]
    assert inner.get_layer("auxiliary1_conv").filters == 128
    assert inner.get_layer("auxiliary2_fc").units == 1024
    assert inner.get_layer("auxiliary2_dropout").rate == 0.7
    assert trained.count_params() > model.count_params()


def test_the_heads_share_the_network_and_leave_the_classifier_as_it_is() -> None:
    model = classifier("googlenet", 5, 32)
    x = noise(2, 32)
    before = np.asarray(model(x))
    trained, _ = training_model(model)
    np.testing.assert_allclose(np.asarray(trained(x)[0]), before, rtol=1e-5, atol=1e-6)
    own = {id(v) for v in trained.trainable_variables}
    assert {id(v) for v in model.trainable_variables} <= own


def test_others_are_trained_as_they_are() -> None:
    model = classifier("lenet5", 3)
    assert training_model(model) == (model, [1.0])


def test_a_classifier_is_cut() -> None:
    import keras

    model = classifier("resnet20", 4, 16)
    x = noise(2, 16)
    start, cut = truncated_classifier(model, EmbedderSpec("resnet20", "trained", input_size=16))
    features = np.asarray(keras.Model(start, cut)(x)).mean(axis=(1, 2))
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(features @ kernel + bias, np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    spec = EmbedderSpec("resnet20", "trained", cut="conv3_1", input_size=16)
    start, cut = truncated_classifier(model, spec)
    assert cut.shape == (None, 8, 8, 32)


def test_what_does_not_fit() -> None:
    import keras

    with pytest.raises(UsageError, match="classes: expected at least 1; received 0"):
        classifier("lenet5", 0)
    with pytest.raises(UsageError, match="received 'lenet7'"):
        classifier("lenet7", 2)
    with pytest.raises(EmbedderError, match="lenet5 at 16 px"):
        classifier("lenet5", 2, 16)
    start: Any = keras.Input((4,))
    with pytest.raises(EmbedderError, match="expected a model that cbir.backbones.classifier"):
        truncated_classifier(keras.Model(start, start), EmbedderSpec("lenet5", "trained"))
    with pytest.raises(UsageError, match="such as .*received 'c9'"):
        truncated_classifier(classifier("lenet5", 2), EmbedderSpec("lenet5", "trained", cut="c9"))
