"""All CNNs in one table; where each may be cut; safe readers of weights."""

from cbir.backbones.registry import (
    BackboneInfo,
    backbone,
    cuts,
    get,
    model_table,
    names,
    truncated,
    weights_state,
)
from cbir.backbones.weights import read_torch_state

__all__ = [
    "BackboneInfo",
    "backbone",
    "cuts",
    "get",
    "model_table",
    "names",
    "read_torch_state",
    "truncated",
    "weights_state",
]
