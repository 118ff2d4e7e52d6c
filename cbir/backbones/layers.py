"""Layers of the historic networks that Keras does not have, for every Keras backend.

Imported only where a network is built or loaded, since it costs Keras. Each is registered, so that
`.keras` files hold it in safe mode.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: how bright red, green and blue are; sums to 1."""


@keras.saving.register_keras_serializable(package="cbir")
class Grey(keras.layers.Layer):
    """RGB (n, h, w, 3) → brightness (n, h, w, 1): the weighted sum of ITU-R BT.601."""

    def call(self, inputs: Any) -> Any:
        """The weighted sum over the last axis."""
        weights = ops.convert_to_tensor(LUMA, dtype=inputs.dtype)
        return ops.sum(inputs * weights, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One channel."""
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="cbir")
class LocalResponseNormalization(keras.layers.Layer):
    """b_i = a_i / (k + alpha * sum of a_j² over `size` neighbouring channels) ** beta.

    (n, h, w, c) → the same shape; at the first and last channels the sum has fewer terms.
    Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural
    Networks (NIPS 2012), section 3.3, with its constants: k 2, size 5, alpha 1e-4, beta .75.
    (Caffe divides alpha by the size; the paper does not.)
    """

    def __init__(
        self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **more: Any
    ) -> None:
        super().__init__(**more)
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def call(self, inputs: Any) -> Any:
        """The quotient."""
        before = (self.size - 1) // 2
        ends = (before, self.size - 1 - before)
        squares = ops.pad(ops.square(inputs), ((0, 0), (0, 0), (0, 0), ends))
        channels = inputs.shape[-1]
        total = squares[..., :channels]
        for shift in range(1, self.size):
            total = total + squares[..., shift : shift + channels]
        return inputs / ops.power(self.k + self.alpha * total, self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As it came."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The four constants."""
        own = {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="cbir")
class GroupedConv2D(keras.layers.Conv2D):
    """A convolution in groups, as one convolution a group on its slice of the channels.

    Arrays as those of `keras.layers.Conv2D(groups=...)`. TensorFlow has no gradient of grouped
    convolutions on a CPU but through XLA, which is slow to start.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Channel slice g with the filters of group g, outputs one after another."""
        wide, filters = inputs.shape[-1] // self.groups, self.filters // self.groups
        parts = [
            ops.conv(
                inputs[..., g * wide : (g + 1) * wide],
                kernel[..., g * filters : (g + 1) * filters],
                strides=list(self.strides),
                padding=self.padding,
                dilation_rate=self.dilation_rate,
                data_format=self.data_format,
            )
            for g in range(self.groups)
        ]
        return ops.concatenate(parts, axis=-1)


@keras.saving.register_keras_serializable(package="cbir")
class PaddedShortcut(keras.layers.Layer):
    """The shortcut without parameters: every `stride`-th place, new channels filled with zeros.

    He et al., Deep Residual Learning for Image Recognition (CVPR 2016), section 3.3, option A.
    """

    def __init__(self, channels: int, stride: int, **more: Any) -> None:
        super().__init__(**more)
        self.channels, self.stride = channels, stride

    def call(self, inputs: Any) -> Any:
        """(n, h, w, c) → (n, h / stride, w / stride, channels)."""
        taken = inputs[:, :: self.stride, :: self.stride, :]
        new = (0, self.channels - inputs.shape[-1])
        return ops.pad(taken, ((0, 0), (0, 0), (0, 0), new))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Sides rounded up."""
        n, height, width, _ = input_shape
        sides = [None if s is None else -(-s // self.stride) for s in (height, width)]
        return (n, *sides, self.channels)

    def get_config(self) -> dict[str, Any]:
        """Channels and stride."""
        return {**super().get_config(), "channels": self.channels, "stride": self.stride}


OWN: dict[str, Any] = {
    f"cbir>{made.__name__}": made
    for made in (Grey, LocalResponseNormalization, GroupedConv2D, PaddedShortcut)
}
"""All of them by the names that `.keras` files give them."""
