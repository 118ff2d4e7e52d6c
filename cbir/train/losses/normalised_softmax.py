"""Normalised softmax: cross-entropy of cosines with class weights, at a temperature."""

from __future__ import annotations

from typing import Any

import keras

from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import Tensor, cross_entropy


@keras.saving.register_keras_serializable("cbir")
class NormalisedSoftmax(ProxyLoss):
    """Mean over rows of the cross-entropy of softmax(cos(x, w) / temperature).

    temperature  above 0; .05 as in the paper (Metric Learning Reality Check found .06 to .11)

    Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning (BMVC 2019),
    section 3.
    """

    options = ("temperature",)

    def __init__(self, *, temperature: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Cross-entropy of the scaled cosines."""
        return cross_entropy(similarities / self.temperature, own, counts)
