"""Residual networks: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition (CVPR
2016).

`resnet18`: table 1, with projections where the shape changes (option B), 11,689,512 parameters that
are trained, with 1000 classes. `resnet20`: section 4.2, the form for 32 x 32 pictures with
shortcuts without parameters (option A), .27 million parameters (table 6). ResNet-50, 101 and 152
come from keras.applications. `residual` and `stem` are shared with SE-ResNet (senet.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Unit:
    """One residual unit. `excite`: what scales its branch before the sum."""

    channels: int
    stride: int
    bottleneck: bool = False
    option_a: bool = False
    excite: Callable[[Any, str], Any] | None = None

    @property
    def inner(self) -> int:
        """Channels of the convolutions inside: a quarter in a bottleneck."""
        return self.channels // 4 if self.bottleneck else self.channels


def convolved(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    """Convolution without bias, "same" with equal margins, then batch normalisation."""
    from keras import layers

    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters, kernel, stride, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def relu(x: Any, name: str) -> Any:
    """A named ReLU."""
    from keras import layers

    return layers.ReLU(name=name)(x)


def residual(x: Any, unit: Unit, name: str) -> Any:
    """Figure 5: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1, added to the shortcut.

    As published, a bottleneck's stride is in its first convolution.
    """
    from keras import layers

    kernels = (1, 3, 1) if unit.bottleneck else (3, 3)
    branch = x
    for i, kernel in enumerate(kernels, start=1):
        last = i == len(kernels)
        filters = unit.channels if last else unit.inner
        stride = unit.stride if i == 1 else 1
        branch = convolved(branch, filters, kernel, stride, f"{name}_conv{i}")
        if not last:
            branch = relu(branch, f"{name}_relu{i}")
    if unit.excite is not None:
        branch = unit.excite(branch, f"{name}_se")
    summed = layers.Add(name=f"{name}_add")([branch, _shortcut(x, unit, name)])
    return relu(summed, name)


def _shortcut(x: Any, unit: Unit, name: str) -> Any:
    from cbir.backbones.layers import PaddedShortcut

    if unit.stride == 1 and x.shape[-1] == unit.channels:
        return x
    if unit.option_a:
        return PaddedShortcut(unit.channels, unit.stride, name=f"{name}_shortcut")(x)
    return convolved(x, unit.channels, 1, unit.stride, f"{name}_shortcut")


def stem(x: Any) -> Any:
    """Table 1: 7 x 7 of stride 2, then 3 x 3 max pooling of stride 2."""
    from keras import layers

    x = relu(convolved(x, 64, 7, 2, "conv1"), "conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # all is above 0 here
    return layers.MaxPooling2D(3, 2, name="pool1")(x)


def stages(x: Any, counts: tuple[int, ...], first: Unit) -> Any:
    """Stages conv2_x, conv3_x, ...: channels double and sides halve from each to the next."""
    for stage, count in enumerate(counts):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            unit = replace(first, channels=first.channels * 2**stage, stride=stride)
            x = residual(x, unit, f"conv{stage + 2}_{i + 1}")
    return x


def resnet18(tensor: Any) -> Any:
    """Normalised RGB (n, s, s, 3) → conv5_2 (n, s / 32, s / 32, 512)."""
    return stages(stem(tensor), (2, 2, 2, 2), Unit(64, 1))


def resnet20(tensor: Any) -> Any:
    """Normalised RGB (n, s, s, 3) → conv4_3 (n, s / 4, s / 4, 64)."""
    x = relu(convolved(tensor, 16, 3, 1, "conv1"), "conv1_relu")
    return stages(x, (3, 3, 3), Unit(16, 1, option_a=True))
