"""Smooth-AP: average precision with sigmoids in place of the steps of a rank."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, mean_of_rows, mean_where


def softly_before(cosines: Tensor, temperature: float) -> Tensor:
    """How far reference j ranks before reference i: (n, m) → float32 (n, i, j), 0 to 1.

    The sigmoid of (s_j - s_i) / temperature; 0 where i is j.
    """
    before = ops.sigmoid((cosines[:, None, :] - cosines[:, :, None]) / temperature)
    return before * (1.0 - ops.eye(ops.shape(cosines)[1]))


@keras.saving.register_keras_serializable("cbir")
class SmoothAP(PairLoss):
    """Mean over anchors of 1 - AP, the ranks made smooth.

    AP is the mean over positives of (rank among positives) / (rank among all). Anchors without a
    positive are left out. Takes n x m x m numbers.

    temperature  τ of the sigmoid, above 0; .01 as in the paper

    Brown, Xie, Kalogeiton and Zisserman, Smooth-AP: Smoothing the Path Towards Large-Scale Image
    Retrieval (ECCV 2020): the loss L_AP there.
    """

    options = ("temperature",)

    def __init__(self, *, temperature: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over anchors."""
        before = softly_before(pairs.cosines, self.temperature)
        positives = ops.cast(pairs.positives, "float32")
        counted = ops.cast(pairs.positives | pairs.negatives, "float32")
        among_positives = 1.0 + ops.sum(before * positives[:, None, :], axis=-1)
        among_all = 1.0 + ops.sum(before * counted[:, None, :], axis=-1)
        precision = mean_of_rows(among_positives / among_all, pairs.positives)
        return mean_where(1.0 - precision, mining.has(pairs.positives))
