"""All CNNs in one table; where each may be cut; safe readers of weights."""

from cbir.backbones.classifier import classifier, training_model, truncated_classifier
from cbir.backbones.registry import backbone, cuts, truncated
from cbir.backbones.table import (
    BackboneInfo,
    check_published,
    get,
    model_table,
    names,
    weights_state,
)
from cbir.backbones.weights import read_torch_state

__all__ = [
    "BackboneInfo",
    "backbone",
    "check_published",
    "classifier",
    "cuts",
    "get",
    "model_table",
    "names",
    "read_torch_state",
    "training_model",
    "truncated",
    "truncated_classifier",
    "weights_state",
]
