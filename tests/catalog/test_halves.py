"""Features as bytes: every size of number keeps its precision."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.catalog import blob_size, from_blobs, to_blob
from cbir.errors import OperationFailedError


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-3, 1.0, 7.0, 1e5, 1e30])
def test_round_trip(scale: float) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 33)).astype(np.float32) * np.float32(scale)
    blobs = [to_blob(row) for row in rows]
    assert {len(blob) for blob in blobs} == {blob_size(33)}
    found = from_blobs(blobs, 33)
    assert found.dtype == np.float32
    bound = np.abs(rows).max(axis=1, keepdims=True) * 2.0**-11
    assert np.all(np.abs(found - rows) <= bound)


def test_within_the_range_of_a_16_bit_float_it_is_exactly_one() -> None:
    row = np.array([0.1, 3.0, 1.7], np.float32)
    assert np.array_equal(from_blobs([to_blob(row)], 3)[0], row.astype(np.float16))


def test_zeros_and_no_features() -> None:
    assert np.array_equal(from_blobs([to_blob(np.zeros(3, np.float32))], 3), [[0, 0, 0]])
    assert from_blobs([], 3).shape == (0, 3)
    with pytest.raises(OperationFailedError, match="not finite"):
        to_blob(np.array([1, np.nan], np.float32))
