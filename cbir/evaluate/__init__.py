"""Measuring retrieval: metrics and the classical floor."""

from cbir.evaluate.classical import colour_histogram
from cbir.evaluate.metrics import (
    average_precision,
    average_precision_trapezoid,
    bootstrap_interval,
    clipped_precision_at_k,
    index_recall_at_k,
    index_recall_by_id,
    map_at_r,
    mean,
    n_s,
    ndcg,
    paired_difference,
    precision_at_k,
    r_precision,
    recall_at_k,
    relevant_recall_at_k,
)

__all__ = [
    "average_precision",
    "average_precision_trapezoid",
    "bootstrap_interval",
    "clipped_precision_at_k",
    "colour_histogram",
    "index_recall_at_k",
    "index_recall_by_id",
    "map_at_r",
    "mean",
    "n_s",
    "ndcg",
    "paired_difference",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "relevant_recall_at_k",
]
