"""Proxy-Anchor: each class's proxy is the anchor, the batch its positives and negatives."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import Tensor, log_one_plus_sum_exp, mean_where


@keras.saving.register_keras_serializable("cbir")
class ProxyAnchor(ProxyLoss):
    """Two means over proxies, s the cosines of a proxy with the rows of the batch:

    of the classes in the batch, log(1 + Σ over own rows exp(-alpha (s - margin)));
    of all classes, log(1 + Σ over other rows exp(alpha (s + margin))).

    margin  δ, 0 to 1; .1 as in the paper
    alpha   above 0; 32 as in the paper

    Kim, Kim, Cho and Kwak, Proxy Anchor Loss for Deep Metric Learning (CVPR 2020), section 3.2,
    equation 4.
    """

    options = ("margin", "alpha")

    def __init__(self, *, margin: float = 0.1, alpha: float = 32.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.alpha = margin, alpha

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Means over proxies."""
        cosines, own = ops.transpose(similarities), ops.transpose(own)
        others = ~own & counts[None, :]
        pulled = log_one_plus_sum_exp(-self.alpha * (cosines - self.margin), own)
        pushed = log_one_plus_sum_exp(self.alpha * (cosines + self.margin), others)
        return mean_where(pulled, mining.has(own)) + ops.mean(pushed)
