"""NT-Xent: cross-entropy of one positive against all negatives, at a temperature."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, log_sum_exp, mean_where


def against_negatives(logits: Tensor, pairs: Pairs) -> Tensor:
    """Mean over positive pairs of -log(e^p / (e^p + Σ over the anchor's negatives e^n)).

    logits float32 (n, m). A pair whose anchor has no negative costs 0, and counts.
    """
    others = log_sum_exp(logits, pairs.negatives)[:, None]
    some = mining.has(pairs.negatives)[:, None]
    cost = ops.where(some, ops.softplus(others - logits), 0.0)
    return mean_where(cost, pairs.positives)


@keras.saving.register_keras_serializable("cbir")
class NTXent(PairLoss):
    """Mean over positive pairs of the cross-entropy of the positive among it and the negatives.

    In SimCLR an image has one positive, its other view. Where a class has more images, the other
    positives are left out of the sum, so that they do not push each other off.

    temperature  above 0; .1 as the paper found for ImageNet (Metric Learning Reality Check found
                 .009 to .02 in batches of 32, .04 in batches of 256)

    Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual
    Representations (ICML 2020), section 2.1, equation 1.
    """

    options = ("temperature",)

    def __init__(self, *, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over positive pairs."""
        return against_negatives(pairs.cosines / self.temperature, pairs)
