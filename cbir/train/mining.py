"""Miners: which of a batch's pairs and triplets a loss looks at.

All are functions of fixed shapes, without control flow on values, so that they run inside a graph:
n anchors against m references, similarities float32 (n, m) (larger is nearer), positives and
negatives bool (n, m) without the anchor itself. They answer with a mask (n, m) or with indices of
references; an index means nothing where the anchor has no such reference, which `has` tells.
What is chosen is constant to the gradient.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.numerics import FAR, Tensor

DRAWS = 8
"""Random negatives drawn for an anchor, dealt out among its positives."""


CLOSEST, FARTHEST = 0.5, 1.4
"""Distances between which negatives are weighted by distance."""


def has(mask: Tensor) -> Tensor:
    """Which anchors have any: bool (n, m) → bool (n,)."""
    return ops.any(mask, axis=-1)


def nearest(similarities: Tensor, mask: Tensor) -> Tensor:
    """The most similar reference that the mask allows: int (..., ), over the last axis."""
    return ops.argmax(ops.where(mask, similarities, -FAR), axis=-1)


def farthest(similarities: Tensor, mask: Tensor) -> Tensor:
    """The least similar reference that the mask allows: int (..., ), over the last axis."""
    return ops.argmin(ops.where(mask, similarities, FAR), axis=-1)


def batch_hard(
    similarities: Tensor, positives: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The farthest positive and the nearest negative of each anchor: int (n,), int (n,).

    Third: bool (n,), the anchors that have both.
    Hermans, Beyer and Leibe, In Defense of the Triplet Loss (2017), equation 5.
    """
    both = has(positives) & has(negatives)
    return farthest(similarities, positives), nearest(similarities, negatives), both


def semi_hard(similarities: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair of an anchor and a positive, a negative: int (n, m).

    It is the nearest of those that are farther than the positive; where none is, the farthest of
    all. Second: bool (n, m), the pairs that have one. Takes n x m x m numbers.
    Schroff, Kalenichenko and Philbin, FaceNet (CVPR 2015), section 3.2; for the rest, as the
    field's implementations do.
    """
    farther = negatives[:, None, :] & (similarities[:, None, :] < similarities[:, :, None])
    chosen = nearest(similarities[:, None, :], farther)
    rest = farthest(similarities, negatives)[:, None]
    return ops.where(has(farther), chosen, rest), positives & has(negatives)[:, None]


def easy_positive(
    similarities: Tensor, positives: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest positive of each anchor, and the nearest negative that is farther than it.

    int (n,), int (n,); third: bool (n,), the anchors that have both. Where no negative is farther,
    the farthest is taken.
    Xuan, Stylianou and Pless, Improved Embeddings with Easy Positive Triplet Mining (WACV 2020),
    section 3.
    """
    best = nearest(similarities, positives)
    level = ops.take_along_axis(similarities, best[:, None], axis=1)
    farther = negatives & (similarities < level)
    chosen = ops.where(
        has(farther), nearest(similarities, farther), farthest(similarities, negatives)
    )
    return best, chosen, has(positives) & has(negatives)


def multi_similarity(
    similarities: Tensor, positives: Tensor, negatives: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """The informative pairs: positives and negatives kept, bool (n, m) each.

    A negative is kept where it is nearer than the farthest positive less the margin, a positive
    where it is farther than the nearest negative plus the margin; none where there is no such
    other. Wang et al., Multi-Similarity Loss (CVPR 2019), equations 11 and 12.
    """
    hardest = ops.min(ops.where(positives, similarities, FAR), axis=-1, keepdims=True)
    nearest_other = ops.max(ops.where(negatives, similarities, -FAR), axis=-1, keepdims=True)
    return (
        positives & (similarities - margin < nearest_other),
        negatives & (similarities + margin > hardest),
    )


def sphere_log_weights(distances: Tensor, dims: int) -> Tensor:
    """Logarithm of the inverse density of a distance between random points on a sphere.

    distances float32, any shape; dims d. Distances are first brought into 0.5 to 1.4, as in the
    authors' code: nearer ones would be all that is drawn, and make gradients of noise; farther ones
    are easy, but rare on a sphere of many dimensions, so that they would be preferred.
    Wu, Manmatha, Smola and Krähenbühl, Sampling Matters in Deep Embedding Learning (ICCV 2017),
    section 4: q(D) ∝ D^(d-2) (1 - D²/4)^((d-3)/2).
    """
    bounded = ops.clip(distances, CLOSEST, FARTHEST)
    rest = ops.log(1.0 - bounded * bounded / 4.0)
    return -(dims - 2.0) * ops.log(bounded) - (dims - 3.0) / 2.0 * rest


def distance_weighted(
    log_weights: Tensor, positives: Tensor, negatives: Tensor, seed: Any
) -> tuple[Tensor, Tensor]:
    """For each pair of an anchor and a positive, a negative drawn by its weight: int (n, m).

    log_weights float32 (n, m), of `sphere_log_weights`; seed an int or a `keras.random
    .SeedGenerator`. Second: bool (n, m), the pairs that have a negative. An anchor has `DRAWS`
    draws; a positive takes the draw of its column modulo `DRAWS`, so each is distributed as it
    should be, and few positives share one.
    """
    n, m = ops.shape(negatives)[0], ops.shape(negatives)[1]
    noise = keras.random.uniform((n, DRAWS, m), 1e-7, 1.0, seed=seed)
    # Gumbel noise: the largest of log weight plus noise is a draw by weight.
    keys = ops.where(negatives, log_weights, -FAR)[:, None, :] - ops.log(-ops.log(noise))
    drawn = ops.argmax(keys, axis=-1)
    dealt = ops.take(drawn, ops.arange(m) % DRAWS, axis=1)
    return dealt, positives & has(negatives)[:, None]
