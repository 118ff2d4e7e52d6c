"""ZF Net: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014;
arXiv 1311.2901, 2013), figure 3.

AlexNet with 7 x 7 filters of stride 2 in layer 1, stride 2 in layer 2, and no groups: 62,357,608
parameters with 1000 classes. "Contrast normalized across feature maps" is taken for AlexNet's local
response normalisation, as usual. Maps are 110, 26 and 13 wide, as in the figure, by a margin of 1
at layer 1 and by pooling windows that may stick out at the end. Left out: the renormalisation of
filters during training (section 3.1).
"""

from __future__ import annotations

from functools import partial
from typing import Any

DROPOUT = 0.5
"""Section 3.1, in layers 6 and 7."""


def zfnet(tensor: Any) -> Any:
    """RGB without its mean (n, s, s, 3) → layer 7 after its ReLU (n, 4096)."""
    from keras import initializers, layers

    from cbir.backbones.layers import LocalResponseNormalization

    small = initializers.RandomNormal(stddev=0.01)
    conv = partial(layers.Conv2D, activation="relu", kernel_initializer=small)
    dense = partial(layers.Dense, 4096, activation="relu", kernel_initializer=small)
    x = layers.ZeroPadding2D(1, name="pad1")(tensor)
    x = conv(96, 7, 2, name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, "same", name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = conv(256, 5, 2, name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, "same", name="pool2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = conv(384, 3, padding="same", name="conv3")(x)
    x = conv(384, 3, padding="same", name="conv4")(x)
    x = conv(256, 3, padding="same", name="conv5")(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    x = dense(name="fc6")(x)
    x = layers.Dropout(DROPOUT, name="dropout6")(x)
    return dense(name="fc7")(x)
