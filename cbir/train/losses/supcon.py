"""SupCon: supervised contrastive loss, each positive against all others of the batch."""

from __future__ import annotations

from typing import Any

import keras

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, log_sum_exp, mean_of_rows, mean_where


@keras.saving.register_keras_serializable("cbir")
class SupCon(PairLoss):
    """Mean over anchors of the mean over their positives of -log(e^p / Σ over all others e^x).

    All others are positives and negatives, not the anchor. Anchors without a positive are left out.

    temperature  above 0; .1 as in the paper

    Khosla et al., Supervised Contrastive Learning (NeurIPS 2020), section 3.2.2, equation 2.
    """

    options = ("temperature",)

    def __init__(self, *, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over anchors."""
        logits = pairs.cosines / self.temperature
        everything = log_sum_exp(logits, pairs.positives | pairs.negatives)
        of_anchor = mean_of_rows(everything[:, None] - logits, pairs.positives)
        return mean_where(of_anchor, mining.has(pairs.positives))
