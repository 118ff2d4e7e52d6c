"""A feature as bytes: an exponent and a row of 16-bit floats.

A common power of two is taken out, so that the largest value lies in [0.5, 1): features of any size
keep the 11 bits of a 16-bit float, none overflows, and none sinks to zero as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cbir.errors import OperationFailedError
from cbir.types import Vectors


def blob_size(dims: int) -> int:
    """Bytes of a feature of this length."""
    return 2 + 2 * dims


def to_blob(feature: Vectors) -> bytes:
    """Float32 (f,) → bytes; OperationFailedError where it is not finite."""
    row = np.asarray(feature, np.float64)
    if not bool(np.isfinite(row).all()):
        raise OperationFailedError(
            "The embedder made a feature that is not finite; expected finite numbers. Its weights "
            "are damaged, or its cut is at a layer that is not normalised."
        )
    exponent = np.frexp(np.abs(row).max())[1] if row.size else 0
    scaled = np.ldexp(row, -int(exponent)).astype("<f2")
    return np.array(exponent, "<i2").tobytes() + scaled.tobytes()


def from_blobs(blobs: Sequence[bytes], dims: int) -> Vectors:
    """The features of equally long blobs, float32 (n, f)."""
    flat = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), blob_size(dims))
    exponents = np.ascontiguousarray(flat[:, :2]).view("<i2").astype(np.int32)
    rows = np.ascontiguousarray(flat[:, 2:]).view("<f2").astype(np.float32)
    return np.asarray(np.ldexp(rows, exponents), np.float32)
