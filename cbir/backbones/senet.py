"""SE-ResNet: Hu, Shen and Sun, Squeeze-and-Excitation Networks (CVPR 2018), table 1.

A residual network whose branches are scaled channel by channel before they are added: squeeze
(global average), excite (two fully connected layers with a bottleneck of 1 / 16, then a sigmoid).
`se-resnet50`: 28,088,024 parameters that are trained, with 1000 classes, 2.5 million more than
ResNet-50 (section 5); `se-resnet18`: 11,778,592.
"""

from __future__ import annotations

from typing import Any

from cbir.backbones.resnet import Unit, stages, stem

REDUCTION = 16
"""Section 4: the ratio that the paper's networks have."""


def excite(x: Any, name: str) -> Any:
    """(n, h, w, c) → the same, each channel scaled by 0 to 1: section 3, equations 2 to 4."""
    from keras import layers

    channels = x.shape[-1]
    scale = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    scale = layers.Dense(channels // REDUCTION, activation="relu", name=f"{name}_reduce")(scale)
    scale = layers.Dense(channels, activation="sigmoid", name=f"{name}_excite")(scale)
    return layers.Multiply(name=f"{name}_scale")([x, scale])


def se_resnet18(tensor: Any) -> Any:
    """Normalised RGB (n, s, s, 3) → conv5_2 (n, s / 32, s / 32, 512)."""
    return stages(stem(tensor), (2, 2, 2, 2), Unit(64, 1, excite=excite))


def se_resnet50(tensor: Any) -> Any:
    """Normalised RGB (n, s, s, 3) → conv5_3 (n, s / 32, s / 32, 2048)."""
    return stages(stem(tensor), (3, 4, 6, 3), Unit(256, 1, bottleneck=True, excite=excite))
