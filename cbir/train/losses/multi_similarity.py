"""Multi-similarity: mined pairs, weighted by how they stand among the anchor's other pairs."""

from __future__ import annotations

from typing import Any

import keras

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, log_one_plus_sum_exp, mean_where


@keras.saving.register_keras_serializable("cbir")
class MultiSimilarity(PairLoss):
    """Mean over anchors of two soft maxima, over mined positives P and negatives N:

    log(1 + Σ over P exp(-alpha (s - base))) / alpha + log(1 + Σ over N exp(beta (s - base))) / beta

    s is the cosine. Anchors without a positive or without a negative in the batch are left out.

    alpha, beta  above 0; 2 and 50 as in the paper (Metric Learning Reality Check: to 14, 50 to 76)
    base         λ, -1 to 1; .5 as in the authors' code and inside the .4 to .7 found there (the
                 paper's text: 1)
    margin       ε of the miner, 0 to 2; .1 as in the paper

    Wang, Han, Huang, Dong and Scott, Multi-Similarity Loss with General Pair Weighting for Deep
    Metric Learning (CVPR 2019), section 4, equations 11, 12 (mining) and 15.
    """

    options = ("alpha", "beta", "base", "margin")

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        margin: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha, self.beta, self.base, self.margin = alpha, beta, base, margin

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over anchors."""
        near, far = mining.multi_similarity(
            pairs.cosines, pairs.positives, pairs.negatives, self.margin
        )
        above = pairs.cosines - self.base
        pulled = log_one_plus_sum_exp(-self.alpha * above, near) / self.alpha
        pushed = log_one_plus_sum_exp(self.beta * above, far) / self.beta
        both = mining.has(pairs.positives) & mining.has(pairs.negatives)
        return mean_where(pulled + pushed, both)
