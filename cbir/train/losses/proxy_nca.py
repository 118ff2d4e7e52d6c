"""Proxy-NCA++: which proxy is nearest, as a probability over all proxies."""

from __future__ import annotations

from typing import Any

import keras

from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import Tensor, cross_entropy


@keras.saving.register_keras_serializable("cbir")
class ProxyNCA(ProxyLoss):
    """Mean over rows of -log softmax(-D² / temperature) at the own proxy.

    D² = 2 - 2 cos is the squared distance of unit vectors. Unlike in Proxy-NCA (Movshovitz-Attias
    et al., ICCV 2017) the own proxy is in the sum. It is normalised softmax at half the
    temperature.

    temperature  above 0; 1/9 as in the paper

    Teh, DeVries and Taylor, ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component
    Analysis (ECCV 2020), section 3.
    """

    options = ("temperature",)

    def __init__(self, *, temperature: float = 1 / 9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Cross-entropy over negative squared distances."""
        return cross_entropy((2.0 * similarities - 2.0) / self.temperature, own, counts)
