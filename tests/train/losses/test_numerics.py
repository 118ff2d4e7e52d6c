"""Masked arithmetic against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.train.losses import numerics
from tests.train.losses.helpers import Array, plain


def case(seed: int = 0) -> tuple[Array, Array]:
    """Values (5, 6) of very different sizes, and a mask whose first row is empty."""
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(5, 6)) < 0.6
    mask[0], mask[1] = False, True
    return (rng.normal(size=(5, 6)) * [[1], [1], [50], [500], [5000]]).astype(np.float32), mask


@pytest.mark.parametrize("plus", [0, 1])
def test_logarithms_of_sums(plus: int) -> None:
    values, mask = case()
    function = numerics.log_one_plus_sum_exp if plus else numerics.log_sum_exp
    found = plain(function(values, mask))
    for row, kept, one in zip(values, mask, found, strict=True):
        terms = [float(v) for v, k in zip(row, kept, strict=True) if k] + [0.0] * plus
        expected = np.logaddexp.reduce(terms) if terms else 0.0
        assert one == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_means() -> None:
    values, mask = case()
    rows = plain(numerics.mean_of_rows(values, mask))
    assert rows[0] == 0
    for row, kept, one in zip(values[1:], mask[1:], rows[1:], strict=True):
        assert one == pytest.approx(float(row[kept].mean()), rel=1e-5)
    assert float(numerics.mean_where(values, mask)) == pytest.approx(values[mask].mean(), rel=1e-5)
    assert float(numerics.mean_where(values, np.zeros_like(mask))) == 0


@pytest.mark.parametrize("length", [1e-11, 1e-3, 1.0, 1e4, 1e30])
def test_unit_rows(length: float) -> None:
    rows = np.random.default_rng(1).normal(size=(4, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = plain(numerics.unit((rows * length).astype(np.float32)))
    np.testing.assert_allclose(found, rows, atol=1e-6)


def test_a_zero_row_stays_zero() -> None:
    assert not plain(numerics.unit(np.zeros((2, 3), np.float32))).any()


def test_distances_of_unit_vectors() -> None:
    angles = np.linspace(0, np.pi, 50)
    found = plain(numerics.distances(np.cos(angles).astype(np.float32)))
    np.testing.assert_allclose(found, 2 * np.sin(angles / 2), atol=2e-4)
    assert found[0] == 0
    # Rounding may give a cosine a little above 1.
    assert float(numerics.distances(np.float32(1.0000002))) == 0


def test_cross_entropy() -> None:
    logits = np.array([[0, np.log(3)], [200, -200], [5, 5]], np.float32)
    own = np.array([[True, False], [True, False], [False, True]])
    found = float(numerics.cross_entropy(logits, own, np.array([True, True, False])))
    assert found == pytest.approx(np.log(4) / 2)


def test_one_entry_of_each_row() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert plain(numerics.at(values, np.array([3, 0, 2]))).tolist() == [3, 4, 10]
