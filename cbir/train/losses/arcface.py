"""ArcFace: normalised softmax with a margin added to the own class's angle."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import ProxyLoss
from cbir.train.losses.numerics import NEAR, Tensor, cross_entropy


@keras.saving.register_keras_serializable("cbir")
class ArcFace(ProxyLoss):
    """Mean over rows of the cross-entropy of scale · cos(θ + margin, own class only).

    margin  radians, 0 to π/2; .35 (20°), inside the 19° to 23° that Metric Learning Reality Check
            found for retrieval (the paper, for faces: .5)
    scale   above 0; 64 as in the paper (found there: 50 to 220)

    Past θ = π - margin the paper's cosine would rise again, and pull the wrong way. There it is
    continued by the straight line cos θ - (1 - cos margin), which meets it at -1 and keeps falling.

    Deng, Guo, Xue and Zafeiriou, ArcFace: Additive Angular Margin Loss for Deep Face Recognition
    (CVPR 2019), section 2.1, equation 3.
    """

    options = ("margin", "scale")

    def __init__(self, *, margin: float = 0.35, scale: float = 64.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.scale = margin, scale

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """Cross-entropy of the scaled cosines, the own angle widened."""
        logits = ops.where(own, self.widened(similarities), similarities)
        return cross_entropy(self.scale * logits, own, counts)

    def widened(self, cosines: Tensor) -> Tensor:
        """cos(θ + margin) without an arc cosine, whose gradient is infinite at 0 and π."""
        cosine, sine = math.cos(self.margin), math.sin(self.margin)
        across = ops.sqrt(ops.maximum(1.0 - cosines * cosines, NEAR))
        return ops.where(
            cosines > -cosine, cosines * cosine - across * sine, cosines - (1.0 - cosine)
        )
