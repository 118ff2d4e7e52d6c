"""Contrastive: positives together, negatives at least a margin apart."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, distances, mean_where


@keras.saving.register_keras_serializable("cbir")
class Contrastive(PairLoss):
    """Mean over positive pairs of max(0, D - slack)², plus mean over near negatives of (m - D)².

    D is the Euclidean distance of unit vectors, 0 to 2; near negatives are those with D < m. The
    two means stand for the paper's sum over as many positives as negatives: in a batch of many
    classes there would be ten negatives to a positive, most of them far.

    margin  m, 0 to 2; .5, inside the .38 to .54 that Metric Learning Reality Check found
    slack   distance of a positive pair that costs nothing; 0 as in the paper (found there: to .29)

    Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping
    (CVPR 2006), section 2 (without its factor of a half).
    """

    options = ("margin", "slack")

    def __init__(self, *, margin: float = 0.5, slack: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.slack = margin, slack

    def loss(self, pairs: Pairs) -> Tensor:
        """Means over pairs."""
        apart = distances(pairs.cosines)
        pulled = ops.relu(apart - self.slack) ** 2
        pushed = ops.relu(self.margin - apart) ** 2
        near = pairs.negatives & (apart < self.margin)
        return mean_where(pulled, pairs.positives) + mean_where(pushed, near)
