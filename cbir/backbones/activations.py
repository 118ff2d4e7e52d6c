"""What a network computes of one picture, layer by layer, and what its first filters look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbir.backbones.cutting import cut_layers, layer_at
from cbir.errors import EmbedderError, UsageError
from cbir.types import Pixels

if TYPE_CHECKING:
    import keras

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "GroupedConv2D")
_FOLLOWING = ("BatchNormalization", "Activation", "ReLU", "LeakyReLU")


@dataclass(frozen=True, slots=True)
class LayerMaps:
    """The activation maps of one layer, float32 (h, w, c), and what was applied after it."""

    layer: str
    after: tuple[str, ...]
    maps: NDArray[np.float32]


def activation_maps(
    model: keras.Model, pixels: Pixels, layers: Sequence[str] = ()
) -> list[LayerMaps]:
    """The maps of a picture, uint8 (s, s, 3), in an embedder's model, in the network's order.

    `layers`: the names to show, as of `cuts`; none: every convolution, each with the normalisation
    and the activation that follow it directly. Raises UsageError for a layer that is not there or
    has no maps, EmbedderError for a model without a network inside.
    """
    import keras

    net = inner_net(model)
    chosen: dict[str, tuple[Any, tuple[str, ...]]]
    if layers:
        chosen = {name: (layer_at(net, name, net.name).output, ()) for name in layers}
    else:
        chosen = _convolutions(net, cut_layers(net))
    for name, (tensor, _) in chosen.items():
        if len(tensor.shape) != 4:
            raise UsageError(
                f"layer: expected one with maps (height x width x channels); {name} gives "
                f"{tuple(tensor.shape[1:])}."
            )
    x: Any = model.input
    for layer in model.layers[1:]:
        if layer is net:
            break
        x = layer(x)
    inner = keras.Model(net.input, [tensor for tensor, _ in chosen.values()])
    found = keras.Model(model.input, inner(x)).predict_on_batch(pixels[None])
    found = found if isinstance(found, list) else [found]
    return [
        LayerMaps(name, after, np.asarray(one[0], np.float32))
        for (name, (_, after)), one in zip(chosen.items(), found, strict=True)
    ]


def inner_net(model: keras.Model) -> keras.Model:
    """The network inside an embedder's or a classifier's model."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return layer
    raise EmbedderError(f"{model.name}: expected a model with a network inside; it has none.")


def _convolutions(net: Any, named: dict[str, Any]) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Each convolution's output, after what alone follows it directly."""
    consumers: dict[int, list[Any]] = {}
    for layer in net.layers:
        inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
        for tensor in inputs:
            consumers.setdefault(id(tensor), []).append(layer)
    found: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for name, layer in named.items():
        if type(layer).__name__ in _CONVOLUTIONS:
            after: list[str] = []
            last = layer
            while True:
                following = consumers.get(id(last.output), [])
                if len(following) != 1 or type(following[0]).__name__ not in _FOLLOWING:
                    break
                last = following[0]
                after.append(type(last).__name__)
            found[name] = (last.output, tuple(after))
    return found


def first_filters(model: keras.Model) -> tuple[str, NDArray[np.float32]] | None:
    """Name and filters of the first convolution, float32 (n, h, w, channels), 1 or 3 channels.

    None where it sees other channels than those of a picture.
    """
    net = inner_net(model)
    for name, layer in cut_layers(net).items():
        if type(layer).__name__ in _CONVOLUTIONS:
            kernel = np.asarray(layer.get_weights()[0], np.float32)
            if kernel.ndim != 4 or kernel.shape[2] not in (1, 3):
                return None
            return name, np.ascontiguousarray(np.transpose(kernel, (3, 0, 1, 2)))
    return None
