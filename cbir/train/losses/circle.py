"""Circle: positives and negatives of an anchor in one sum, each weighted by how far off it is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, log_sum_exp, mean_where


@keras.saving.register_keras_serializable("cbir")
class Circle(PairLoss):
    """Mean over anchors of log(1 + Σ exp(γ α_n (s_n - m)) · Σ exp(-γ α_p (s_p - 1 + m))).

    s are cosines; the weights α_p = max(0, 1 + m - s_p) and α_n = max(0, s_n + m) are constant to
    the gradient, as in those that the paper's section 3.3 gives. Anchors without a positive or
    without a negative are left out.

    margin  m, 0 to 1; .4 as in the paper for fine-grained retrieval (.25 for faces)
    gamma   γ, above 0; 80 likewise (256 for faces)

    Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization (CVPR 2020),
    sections 3.2 and 3.3.
    """

    options = ("margin", "gamma")

    def __init__(self, *, margin: float = 0.4, gamma: float = 80.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.gamma = margin, gamma

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over anchors."""
        cosines, m = pairs.cosines, self.margin
        pull = ops.stop_gradient(ops.relu(1.0 + m - cosines))
        push = ops.stop_gradient(ops.relu(cosines + m))
        near = log_sum_exp(-self.gamma * pull * (cosines - (1.0 - m)), pairs.positives)
        far = log_sum_exp(self.gamma * push * (cosines - m), pairs.negatives)
        both = mining.has(pairs.positives) & mining.has(pairs.negatives)
        return mean_where(ops.softplus(near + far), both)
