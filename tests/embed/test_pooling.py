"""Poolings against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.embed.pooling import POOLINGS, pool
from cbir.errors import EmbedderError, UsageError


def test_global_average() -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    expected = [
        [sum(maps[n, i, j, c] for i in range(3) for j in range(4)) / 12 for c in range(5)]
        for n in range(2)
    ]
    np.testing.assert_allclose(np.asarray(pool("gap", maps)), expected, rtol=1e-5)


def test_tokens_are_averaged() -> None:
    tokens = np.random.default_rng(0).random((2, 7, 5), np.float32)
    np.testing.assert_allclose(np.asarray(pool("gap", tokens)), tokens.mean(axis=1), rtol=1e-5)


def test_vectors_stay_as_they_are() -> None:
    vectors = np.ones((2, 5), np.float32)
    assert pool("gap", vectors) is vectors


@pytest.mark.parametrize("rank", [1, 5])
def test_other_ranks_are_refused(rank: int) -> None:
    with pytest.raises(EmbedderError, match=f"2, 3 or 4 axes; received {rank}"):
        pool("gap", np.ones((2,) * rank, np.float32))


def test_an_unknown_pooling() -> None:
    with pytest.raises(UsageError, match="expected one of gap; received 'median'"):
        pool("median", np.ones((2, 2, 2, 3), np.float32))
    assert list(POOLINGS) == ["gap"]
