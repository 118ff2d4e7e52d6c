"""CosFace: normalised softmax with a margin taken off the own class's cosine."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import Tensor, cross_entropy


@keras.saving.register_keras_serializable("cbir")
class CosFace(ProxyLoss):
    """Mean over rows of the cross-entropy of scale · (cos θ - margin, own class only).

    margin  0 to 1; .35 as in the paper (Metric Learning Reality Check found .34 to .62)
    scale   above 0; 64 as in the paper (found there: 100 to 160)

    Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition (CVPR 2018),
    section 3.1, equation 4.
    """

    options = ("margin", "scale")

    def __init__(self, *, margin: float = 0.35, scale: float = 64.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.scale = margin, scale

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Cross-entropy of the scaled cosines, the own one less the margin."""
        logits = similarities - self.margin * ops.cast(own, "float32")
        return cross_entropy(self.scale * logits, own, counts)
