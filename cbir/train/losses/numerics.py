"""What the losses share in arithmetic: sums over masked entries whose gradients stay finite.

A masked entry is replaced before it reaches `exp` or `sqrt`, not after: the gradient of a `where`
multiplies what it leaves out by zero, and zero times infinity is not a number.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from keras import ops

Tensor: TypeAlias = Any
"""A tensor of whatever backend Keras runs on."""

FAR = 1e9
"""Larger than any cosine, distance or logit that is compared; finite, so that differences are."""

TINY = 1e-12
"""Below this length a vector has no direction."""

NEAR = 1e-6
"""Squared distance of unit vectors that float32 cannot tell from zero (cosine 1 - 5e-7)."""


def unit(vectors: Tensor) -> Tensor:
    """Rows at length 1: (n, d) → (n, d); zero stays zero, and its gradient is zero.

    Dividing by the largest entry first keeps squares from overflowing or vanishing; the direction
    does not depend on it, so neither does the gradient.
    """
    peak = ops.stop_gradient(ops.max(ops.abs(vectors), axis=-1, keepdims=True))
    live = peak > TINY
    scaled = vectors / ops.where(live, peak, 1.0)
    square = ops.sum(scaled * scaled, axis=-1, keepdims=True)
    return ops.where(live, scaled * ops.rsqrt(ops.where(live, square, 1.0)), 0.0)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that count, a scalar; 0 where none does."""
    weights = ops.cast(mask, "float32")
    total = ops.sum(ops.where(mask, values, 0.0))
    return total / ops.maximum(ops.sum(weights), 1.0)


def log_sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of Σ exp over the last axis where the mask says so; 0 where it never does."""
    peak = ops.stop_gradient(ops.max(ops.where(mask, values, -FAR), axis=-1, keepdims=True))
    some = ops.any(mask, axis=-1)
    total = _sum_exp(values - peak, mask)
    return ops.where(some, ops.log(ops.where(some, total, 1.0)) + peak[..., 0], 0.0)


def log_one_plus_sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of 1 + Σ exp over the last axis where the mask says so; 0 where it never does."""
    peak = ops.stop_gradient(ops.max(ops.where(mask, values, 0.0), axis=-1, keepdims=True))
    peak = ops.maximum(peak, 0.0)
    return ops.log(ops.exp(-peak[..., 0]) + _sum_exp(values - peak, mask)) + peak[..., 0]


def _sum_exp(values: Tensor, mask: Tensor) -> Tensor:
    return ops.sum(ops.where(mask, ops.exp(ops.where(mask, values, 0.0)), 0.0), axis=-1)


def distances(cosines: Tensor) -> Tensor:
    """Euclidean distances of unit vectors from their cosines: sqrt(2 - 2 cos), 0 to 2.

    Exactly 0, with gradient 0, where the vectors are the same within float32.
    """
    square = 2.0 - 2.0 * cosines
    apart = square > NEAR
    return ops.where(apart, ops.sqrt(ops.where(apart, square, 1.0)), 0.0)


def cross_entropy(logits: Tensor, own: Tensor, counts: Tensor) -> Tensor:
    """Mean over rows of log Σ exp - own logit.

    logits float32 (n, c); own bool (n, c), one true entry a row; counts bool (n,), the rows meant.
    """
    right = ops.sum(ops.where(own, logits, 0.0), axis=-1)
    return mean_where(ops.logsumexp(logits, axis=-1) - right, counts)


def at(values: Tensor, index: Tensor) -> Tensor:
    """One entry of each row: (n, m) and int (n,) → (n,)."""
    return ops.take_along_axis(values, index[:, None], axis=1)[:, 0]


def mean_of_rows(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each row's entries that count: (n, m) → (n,); 0 where none does."""
    many = ops.sum(ops.cast(mask, "float32"), axis=-1)
    return ops.sum(ops.where(mask, values, 0.0), axis=-1) / ops.maximum(many, 1.0)
