"""keras.applications: each model's own preprocessing, and what is particular about some."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.backbones import get, names
from cbir.backbones.applications import DEVIATION, MEAN, make, preprocess
from cbir.errors import EmbedderError, WeightsError
from tests.backbones.photos import SAVING, noise

FACTORIES = [get(name).factory for name in names() if get(name).factory]


@pytest.mark.parametrize("factory", FACTORIES)
def test_preprocessing_is_the_one_of_the_models_module(factory: str) -> None:
    import keras

    module: Any = inspect.getmodule(getattr(keras.applications, factory))
    pixels = noise(2, 8)
    start = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(start, preprocess(get(factory).mode, start))
    expected = module.preprocess_input(pixels.astype(np.float32))
    found = np.asarray(model(pixels))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_preprocessing_of_lite() -> None:
    import keras

    start = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(start, preprocess("lite", start))
    pixels = noise(1, 8)
    np.testing.assert_array_equal(np.asarray(model(pixels)), (pixels.astype("f4") - 127) / 128)


@SAVING
def test_published_weights_of_efficientnet_b_are_mended(tmp_path: Path) -> None:
    """They hold standard deviations where variances belong; see `_mend_deviation`."""
    import keras

    plain = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    norm = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    x = noise(1, 64).astype(np.float32)
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    expected = np.asarray(plain((x / 255 - mean) / deviation * 255))
    norm.set_weights([mean, deviation, np.zeros((), np.int32)])
    file = str(tmp_path / "published.weights.h5")
    plain.save_weights(file)
    found = np.asarray(make("EfficientNetB0", 64, file)(x))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@SAVING
def test_own_normalisation_of_efficientnet_b_stays(tmp_path: Path) -> None:
    import keras

    plain = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    norm = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.1, 0.2, 0.3], "f4"), np.array([2, 3, 4], "f4"), np.int32(0)])
    norm.finalize_state()
    file = str(tmp_path / "own.weights.h5")
    plain.save_weights(file)
    x = noise(1, 64).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(make("EfficientNetB0", 64, file)(x)), np.asarray(plain(x)), rtol=1e-4, atol=1e-5
    )


def test_convnext_is_normalised_after_pooling() -> None:
    model = make("ConvNeXtTiny", 32, None)
    kinds = [type(layer).__name__ for layer in model.layers[-2:]]
    assert kinds == ["GlobalAveragePooling2D", "LayerNormalization"]
    assert model.output_shape == (None, 768)


def test_a_size_that_the_model_does_not_take() -> None:
    with pytest.raises(EmbedderError, match="InceptionV3 at 32 px: .*at least 75"):
        make("InceptionV3", 32, None)


@SAVING
def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    import keras

    start = keras.Input((4,))
    file = str(tmp_path / "other.weights.h5")
    keras.Model(start, keras.layers.Dense(3)(start)).save_weights(file)
    with pytest.raises(WeightsError, match="expected weights of MobileNetV3Small without its"):
        make("MobileNetV3Small", 32, file)
    text = tmp_path / "text.h5"
    text.write_text("no weights")
    with pytest.raises(WeightsError, match="expected weights of MobileNetV3Small"):
        make("MobileNetV3Small", 32, str(text))
