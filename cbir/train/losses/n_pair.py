"""N-pair: each positive against all negatives at once, on embeddings that are not normalised."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.nt_xent import against_negatives
from cbir.train.losses.numerics import Tensor, mean_where


@keras.saving.register_keras_serializable("cbir")
class NPair(PairLoss):
    """Mean over positive pairs of log(1 + Σ over negatives exp(a·n - a·p)), plus l2 · mean |x|².

    The products are of embeddings as they are: the paper found the range of cosines too narrow to
    optimise in, and holds the lengths by a penalty instead. Its batches have two images of a
    class; here every positive pair counts, against all negatives of its anchor.

    l2  weight of the mean squared length, at least 0; the paper gives no number. .001 is what the
        .002 of the widely used implementations amounts to.

    Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective (NIPS 2016),
    section 3.2.
    """

    options = ("l2",)
    normalises = False

    def __init__(self, *, l2: float = 0.001, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l2 = l2

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over pairs, and the penalty."""
        lengths = mean_where(ops.sum(pairs.rows**2, axis=-1), pairs.counts)
        return against_negatives(pairs.cosines, pairs) + self.l2 * lengths
