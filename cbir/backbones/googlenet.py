"""GoogLeNet: Szegedy et al., Going Deeper with Convolutions (CVPR 2015), table 1, section 5.

6,998,552 parameters with 1000 classes, without the auxiliary heads; no batch normalisation, local
response normalisation after the first pooling and before the second, as in figure 3. In training
two auxiliary classifiers hang on inception 4a and 4d, whose losses count .3 each.
"""

from __future__ import annotations

from functools import partial
from typing import Any

DROPOUT = 0.4
"""Table 1, before the classifier."""
AUXILIARY = ("inception4a", "inception4d")
AUXILIARY_WEIGHT = 0.3

MODULES = {
    # 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, projection of the pooled
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Table 1, columns #1x1 to "pool proj"."""


def googlenet(tensor: Any) -> Any:
    """RGB without its mean (n, s, s, 3) → inception 5b (n, s / 32, s / 32, 1024)."""
    from keras import layers

    from cbir.backbones.layers import LocalResponseNormalization

    conv = _conv()
    pool = partial(layers.MaxPooling2D, 3, 2, "same")
    x = conv(64, 7, strides=2, name="conv1")(tensor)
    x = pool(name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = conv(64, 1, name="conv2_reduce")(x)
    x = conv(192, 3, name="conv2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = pool(name="pool2")(x)
    for name, widths in MODULES.items():
        x = _inception(x, f"inception{name}", widths)
        if name in ("3b", "4e"):
            x = pool(name=f"pool{name[0]}")(x)
    return x


def _conv() -> Any:
    from keras import layers

    return partial(layers.Conv2D, padding="same", activation="relu")


def _inception(x: Any, name: str, widths: tuple[int, ...]) -> Any:
    """Figure 2 (b): four branches, their channels one after another."""
    from keras import layers

    conv = _conv()
    one, reduced3, three, reduced5, five, projected = widths
    pooled = layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x)
    branches = [
        conv(one, 1, name=f"{name}_1x1")(x),
        conv(three, 3, name=f"{name}_3x3")(conv(reduced3, 1, name=f"{name}_3x3_reduce")(x)),
        conv(five, 5, name=f"{name}_5x5")(conv(reduced5, 1, name=f"{name}_5x5_reduce")(x)),
        conv(projected, 1, name=f"{name}_pool_proj")(pooled),
    ]
    return layers.Concatenate(name=name)(branches)


def auxiliary_head(feature_map: Any, classes: int, name: str) -> Any:
    """An auxiliary classifier (section 5): (n, h, w, c) → logits (n, classes).

    Average pooling 5 x 5 of stride 3, 128 filters 1 x 1, 1024 units, 70 % dropout. Where the input
    is small the pooling window is as large as the map.
    """
    from keras import layers

    side = min(5, feature_map.shape[1])
    x = layers.AveragePooling2D(side, 3, name=f"{name}_pool")(feature_map)
    x = _conv()(128, 1, name=f"{name}_conv")(x)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{name}_fc")(x)
    x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return layers.Dense(classes, name=name)(x)
