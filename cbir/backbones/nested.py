"""Networks whose layers may be networks: all layers in order, and what they are computed in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any


def flat_layers(model: Any) -> list[Any]:
    """All layers in order, those of nested models in their place, without the models."""
    return list(_walk(model))


def _walk(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _walk(layer)
        else:
            yield layer


def set_precision(network: Any, policy: str, but: Collection[str] = ()) -> None:
    """Compute in a dtype policy (float32, mixed_float16, mixed_bfloat16), but for these layers."""
    for layer in flat_layers(network):
        if layer.name not in but and getattr(layer, "dtype_policy", None) is not None:
            if type(layer).__name__ != "InputLayer":
                layer.dtype_policy = policy
