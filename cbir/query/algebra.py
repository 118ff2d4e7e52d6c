"""Several example images as one query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbir.errors import UsageError
from cbir.types import Vectors


def combine(vectors: Vectors, weights: Sequence[float] | None = None) -> Vectors:
    """The weighted mean direction of unit vectors.

    vectors float32 (q, d), unit rows; weights: q numbers above 0 (None: all 1).
    Returns float32 (1, d), unit length; zero where the vectors cancel out.
    Raises UsageError for no vectors, another number of weights, or a weight not above 0.
    """
    if not len(vectors):
        raise UsageError("combine: expected at least one query image; received none.")
    used = np.ones(len(vectors)) if weights is None else np.asarray(weights, np.float64)
    if len(used) != len(vectors):
        raise UsageError(
            f"weight: expected one for each of the {len(vectors)} query images; received "
            f"{len(used)}. Repeat --weight once per image, in their order."
        )
    if not np.all(np.isfinite(used)) or not np.all(used > 0):
        raise UsageError(f"weight: expected numbers above 0; received {list(used)}.")
    used = used / used.max()  # so that no size of numbers overflows
    total = (used[:, None] * vectors).sum(axis=0)
    length = float(np.linalg.norm(total))
    unit = total / length if length > 0 else total
    return np.asarray(unit[None], np.float32)
