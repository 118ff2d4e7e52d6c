"""Triplet: a positive nearer than a negative by a margin, with five ways to choose both."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train import mining
from cbir.train.losses.base import PairLoss, Pairs
from cbir.train.losses.numerics import Tensor, at, distances, mean_where


@keras.saving.register_keras_serializable("cbir")
class Triplet(PairLoss):
    """Mean of max(0, D(a, p) - D(a, n) + margin), D the Euclidean distance of unit vectors.

    margin  0 to 2; .2 as in FaceNet (Metric Learning Reality Check found .05 to .12)
    mining  batch-hard         an anchor's farthest positive, nearest negative; mean over anchors
                               (Hermans, Beyer and Leibe 2017, equation 5)
            semi-hard          every positive, with the nearest negative that is farther; mean over
                               positive pairs (FaceNet, section 3.2)
            distance-weighted  every positive, with a negative drawn so that all distances are
                               seen; mean over triplets that cost (Wu et al., ICCV 2017, section 4)
            easy-positive      an anchor's nearest positive, with the nearest negative that is
                               farther; mean over anchors (Xuan et al., WACV 2020)
            all                every triplet; mean over those that cost (Hermans et al., equation 6
                               and section 3.2: "batch all, non-zero")
    seed    of the draws

    Schroff, Kalenichenko and Philbin, FaceNet: A Unified Embedding for Face Recognition and
    Clustering (CVPR 2015), section 3.1, with D for D².
    """

    options = ("margin", "mining", "seed")

    def __init__(
        self, *, margin: float = 0.2, mining: str = "semi-hard", seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.margin, self.mining, self.seed = margin, mining, seed
        # Its state is a variable of this layer, so that a resumed run draws on as it would have.
        self.draws = keras.random.SeedGenerator(seed) if mining == "distance-weighted" else None

    def loss(self, pairs: Pairs) -> Tensor:
        """Mean over the triplets that the miner chose."""
        apart = distances(pairs.cosines)
        if self.mining == "all":
            return self._all(apart, pairs)
        if self.mining in ("batch-hard", "easy-positive"):
            return self._of_anchors(apart, pairs)
        return self._of_positives(apart, pairs)

    def _of_anchors(self, apart: Tensor, pairs: Pairs) -> Tensor:
        mine = mining.batch_hard if self.mining == "batch-hard" else mining.easy_positive
        positive, negative, counts = mine(pairs.cosines, pairs.positives, pairs.negatives)
        cost = ops.relu(at(apart, positive) - at(apart, negative) + self.margin)
        return mean_where(cost, counts)

    def _of_positives(self, apart: Tensor, pairs: Pairs) -> Tensor:
        if self.draws is None:
            chosen, counts = mining.semi_hard(pairs.cosines, pairs.positives, pairs.negatives)
        else:
            dims = int(pairs.rows.shape[-1])
            weights = mining.sphere_log_weights(ops.stop_gradient(apart), dims)
            chosen, counts = mining.distance_weighted(
                weights, pairs.positives, pairs.negatives, self.draws
            )
        cost = ops.relu(apart - ops.take_along_axis(apart, chosen, axis=1) + self.margin)
        return mean_where(cost, counts if self.draws is None else counts & (cost > 0))

    def _all(self, apart: Tensor, pairs: Pairs) -> Tensor:
        cost = ops.relu(apart[:, :, None] - apart[:, None, :] + self.margin)
        chosen = pairs.positives[:, :, None] & pairs.negatives[:, None, :]
        return mean_where(cost, chosen & (cost > 0))
