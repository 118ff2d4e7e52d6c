"""Recall@k surrogate: the share of positives among the first k, with sigmoids for steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, mean_where
from cbir.train.losses.smooth_ap import softly_before


@keras.saving.register_keras_serializable("cbir")
class RecallAtK(PairLoss):
    """1 - the mean, over anchors and k = 1, 2, 4, ... largest_k, of the smooth recall at k.

    It is the sum over positives of the sigmoid of (k - rank) / rank_temperature, at most k, over
    the number of positives that k places can hold: what the glossary calls relevant-recall@k. The
    rank is 1 + the sum over all others of the sigmoid of (s_other - s) / temperature. Anchors
    without a positive are left out. Takes n x m x m numbers. The paper's batches are of 4,000
    images; small ones have few ranks to learn from. Its mix-up of similarities is not done.

    largest_k         1 to 1024; 16 as in the paper
    rank_temperature  τ1, above 0; 1 as in the paper
    temperature       τ2, above 0; .01 as in the paper

    Patel, Tolias and Matas, Recall@k Surrogate Loss with Large Batches and Similarity Mixup
    (CVPR 2022), section 3; the bound and the divisor are those of the authors' code.
    """

    options = ("largest_k", "rank_temperature", "temperature")

    def __init__(
        self,
        *,
        largest_k: int = 16,
        rank_temperature: float = 1.0,
        temperature: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.largest_k, self.temperature = largest_k, temperature
        self.rank_temperature = rank_temperature

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over anchors and k."""
        counted = ops.cast(pairs.positives | pairs.negatives, "float32")
        before = softly_before(pairs.cosines, self.temperature)
        ranks = 1.0 + ops.sum(before * counted[:, None, :], axis=-1)
        positives = ops.cast(pairs.positives, "float32")
        relevant = ops.sum(positives, axis=-1)
        recalls = []
        for k in [2**power for power in range(self.largest_k.bit_length())]:
            within = ops.sigmoid((k - ranks) / self.rank_temperature)
            found = ops.minimum(ops.sum(within * positives, axis=-1), k)
            recalls.append(found / ops.maximum(ops.minimum(relevant, k), 1.0))
        recall = ops.mean(ops.stack(recalls), axis=0)
        return mean_where(1.0 - recall, mining.has(pairs.positives))
