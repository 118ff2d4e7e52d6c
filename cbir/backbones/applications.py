"""The models of keras.applications, each with its own preprocessing."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.errors import EmbedderError, WeightsError

if TYPE_CHECKING:
    import keras

# What each module's `preprocess_input` does, as scale and offset of RGB 0..255.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red


def make(factory: str, size: int, weights: str | None) -> keras.Model:
    """The convolutional part of a model, for float input (n, size, size, 3).

    `weights`: None (as initialised), "imagenet" (fetched by Keras), or a file's path.
    Raises WeightsError where weights cannot be had or do not fit, EmbedderError for a size that
    this model does not take.
    """
    import keras

    build = partial(getattr(keras.applications, factory), include_top=False)
    if factory.startswith("ConvNeXt"):  # it was trained with its last norm after the pooling
        build = partial(build, pooling="avg")
    try:
        model = build(weights=None, input_shape=(size, size, 3))
    except ValueError as error:
        raise EmbedderError(f"{factory} at {size} px: {_line(error)}") from None
    if weights == "imagenet":
        _fetch(build, model, factory)
    elif weights is not None:
        try:
            model.load_weights(weights)
        except Exception as error:  # h5py, Keras and the file system each have their own
            raise WeightsError(
                f"{weights}: expected weights of {factory} without its classifier, as Keras "
                f"writes them (.weights.h5 or .h5); {_line(error)}"
            ) from None
    if weights is not None:
        _mend_deviation(model)
    return model


def _fetch(build: Any, model: keras.Model, factory: str) -> None:
    """ImageNet weights through Keras' own download, which reports on standard output."""
    size = model.input_shape[1]
    try:
        with redirect_stdout(sys.stderr):
            source = build(weights="imagenet", input_shape=(size, size, 3))
    except Exception as error:  # urllib, ssl, h5py: whatever a download can fail with
        raise WeightsError(
            f"The ImageNet weights of {factory} cannot be fetched ({_line(error)}). On a machine "
            "with internet, Keras puts them into ~/.keras/models; copy the file here and name it "
            "with --weights FILE."
        ) from None
    model.set_weights(source.get_weights())


def _mend_deviation(model: keras.Model) -> None:
    """Make up for an error in the published weights of EfficientNet B0 to B7.

    Their first layer, which divides by the root of a variance, holds ImageNet's standard deviation
    in its place. Keras makes up for it by one more layer, but only where it fetches the weights
    itself; here the variance is put right, wherever they come from.
    """
    for layer in model.layers:
        if type(layer).__name__ == "Normalization" and len(layer.weights) == 3:
            mean, variance, count = layer.get_weights()
            if np.allclose(variance.ravel(), DEVIATION, atol=1e-3):
                layer.set_weights([mean, np.square(variance), count])
            layer.finalize_state()  # it computes with copies of its weights


def preprocess(mode: str, tensor: Any) -> Any:
    """RGB uint8 0..255 (n, h, w, 3) → what a model was trained on, float32, as Keras layers.

    caffe: BGR, ImageNet's mean subtracted · tf: -1..1 · torch: ImageNet's mean and deviation ·
    lite: (x - 127) / 128 · mean: ImageNet's mean subtracted · lenet: black -0.1, white 1.175 ·
    none: the model itself does it.
    """
    from keras import layers

    if mode == "caffe":
        flipped = reverse_channels()(layers.Rescaling(1.0, name="as_float")(tensor))
        return layers.Rescaling(1.0, [-m for m in CAFFE_MEAN], name="preprocess")(flipped)
    scale: Any = {"tf": 1 / 127.5, "lite": 1 / 128, "lenet": 1.275 / 255}.get(mode, 1.0)
    offset: Any = {"tf": -1.0, "lite": -127 / 128, "lenet": -0.1}.get(mode, 0.0)
    if mode == "mean":
        offset = [-m for m in reversed(CAFFE_MEAN)]
    if mode == "torch":
        scale = [1 / (255 * d) for d in DEVIATION]
        offset = [-m / d for m, d in zip(MEAN, DEVIATION, strict=True)]
    return layers.Rescaling(scale, offset, name="preprocess")(tensor)


def reverse_channels() -> Any:
    """A layer RGB ↔ BGR, registered so that `.keras` files can hold it."""
    return _reverse_class()(name="rgb_to_bgr")


_CLASS: list[Any] = []


def _reverse_class() -> Any:
    """The layer's class, made on first use so that importing this file costs no Keras."""
    if not _CLASS:
        import keras

        @keras.saving.register_keras_serializable(package="cbir")
        class ReverseChannels(keras.layers.Layer):
            """The last axis, backwards."""

            def call(self, inputs: Any) -> Any:
                return keras.ops.flip(inputs, axis=-1)

            def compute_output_shape(self, input_shape: Any) -> Any:
                return input_shape

        _CLASS.append(ReverseChannels)
    return _CLASS[0]


def custom_objects() -> dict[str, Any]:
    """The layers that are our own, for loading a saved model."""
    from cbir.backbones.layers import OWN

    return {"cbir>ReverseChannels": _reverse_class(), **OWN}


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
