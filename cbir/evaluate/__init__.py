"""Measuring retrieval: metrics and the classical floor."""

from cbir.evaluate.classical import colour_histogram
from cbir.evaluate.metrics import average_precision, map_at_r, precision_at_k, recall_at_k

__all__ = [
    "average_precision",
    "colour_histogram",
    "map_at_r",
    "precision_at_k",
    "recall_at_k",
]
