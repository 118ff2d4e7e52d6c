"""AlexNet: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural
Networks (NIPS 2012), section 3.5 and figure 2.

The published form with two groups (conv2, conv4 and conv5 see half of the channels, as the paper
spread them over two GPUs): 60,965,224 parameters with 1000 classes, the "60 million" of the
abstract. The input is 227 px, which the published shapes need (the text says 224). Initial weights
as in section 5: a normal distribution of deviation .01, biases 1 in conv2, conv4, conv5 and the
fully connected layers, 0 in the others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

DROPOUT = 0.5
"""Section 4.2, before each of the two last fully connected layers."""


def alexnet(tensor: Any) -> Any:
    """RGB without its mean (n, s, s, 3) → fc7 after its ReLU (n, 4096)."""
    from keras import initializers, layers

    from cbir.backbones.layers import GroupedConv2D, LocalResponseNormalization

    small = initializers.RandomNormal(stddev=0.01)
    conv = partial(layers.Conv2D, activation="relu", kernel_initializer=small)
    grouped = partial(
        GroupedConv2D, groups=2, padding="same", activation="relu", kernel_initializer=small,
        bias_initializer="ones",
    )  # fmt: skip
    dense = partial(
        layers.Dense, 4096, activation="relu", kernel_initializer=small, bias_initializer="ones"
    )
    x = conv(96, 11, 4, name="conv1")(tensor)
    x = LocalResponseNormalization(name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = grouped(256, 5, name="conv2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = conv(384, 3, padding="same", name="conv3")(x)
    x = grouped(384, 3, name="conv4")(x)
    x = grouped(256, 3, name="conv5")(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    x = dense(name="fc6")(x)
    x = layers.Dropout(DROPOUT, name="dropout6")(x)
    return dense(name="fc7")(x)
