"""Softmax: cross-entropy of a linear classifier with bias, on embeddings as they are."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import Tensor, mean_where


@keras.saving.register_keras_serializable("cbir")
class Softmax(ProxyLoss):
    """Mean over rows of the cross-entropy of softmax(W x + b), x as it is.

    smoothing  share of a label that is spread evenly over all classes, 0 to 1

    Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs (1990); for
    retrieval: Boudiaf et al., A Unifying Mutual Information View of Metric Learning (ECCV 2020),
    who smooth by .1; smoothing: Szegedy et al., Rethinking the Inception Architecture (CVPR 2016),
    section 7.
    """

    options = ("smoothing",)
    normalises = False

    def __init__(self, *, smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smoothing = smoothing

    def build(self, embeddings_shape: Any = None) -> None:
        """Make the classifier's weights: Glorot's uniform ones, and a bias of zero."""
        self.proxies = self.add_weight(
            shape=(self.classes, self.dims),
            initializer=keras.initializers.GlorotUniform(seed=self.seed),
            name="proxies",
        )
        self.bias = self.add_weight(shape=(self.classes,), initializer="zeros", name="bias")
        self.built = True

    def similarities(self, rows: Tensor) -> Tensor:
        """Logits: rows (n, d) → (n, classes)."""
        return super().similarities(rows) + self.bias

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Cross-entropy with smoothed labels."""
        right = ops.sum(ops.where(own, similarities, 0.0), axis=-1)
        even = ops.mean(similarities, axis=-1)
        expected = (1.0 - self.smoothing) * right + self.smoothing * even
        return mean_where(ops.logsumexp(similarities, axis=-1) - expected, counts)
