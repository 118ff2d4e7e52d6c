"""Fisher vectors against a plain loop and against scikit-image; mixtures of what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.feature import fisher_vector as their_fisher_vector
from sklearn.mixture import GaussianMixture

from cbir.evaluate.classical import Mixture, fisher_vector, fit_mixture
from cbir.evaluate.classical.fisher import posteriors


@pytest.fixture
def mixture() -> Mixture:
    rng = np.random.default_rng(0)
    return Mixture(
        np.array([0.2, 0.5, 0.3], np.float32),
        rng.normal(size=(3, 4)).astype(np.float32),
        rng.uniform(0.3, 2, (3, 4)).astype(np.float32),
    )


def some_rows(n: int = 30) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)


def plain(rows: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Equations 17 and 18 of Sánchez et al., one descriptor, component and dimension at a time."""
    k, d = mixture.means.shape
    by_mean, by_spread = np.zeros((k, d)), np.zeros((k, d))
    for row in rows.astype(float):
        likelihood = []
        for weight, mean, variance in zip(
            mixture.weights, mixture.means, mixture.variances, strict=True
        ):
            value = math.log(weight)
            for x, m, v in zip(row, mean, variance, strict=True):
                value += -0.5 * math.log(2 * math.pi * v) - (x - m) ** 2 / (2 * v)
            likelihood.append(math.exp(value))
        for c in range(k):
            share = likelihood[c] / sum(likelihood)
            for i in range(d):
                scaled = (row[i] - mixture.means[c, i]) / math.sqrt(mixture.variances[c, i])
                by_mean[c, i] += share * scaled / math.sqrt(mixture.weights[c])
                by_spread[c, i] += share * (scaled**2 - 1) / math.sqrt(2 * mixture.weights[c])
    whole = np.concatenate([by_mean.ravel(), by_spread.ravel()]) / len(rows)
    whole = np.sign(whole) * np.sqrt(np.abs(whole))
    return whole / np.linalg.norm(whole)


def test_against_a_plain_loop(mixture: Mixture) -> None:
    found = fisher_vector(some_rows(), mixture)
    assert found.dtype == np.float32 and found.shape == (24,) == (mixture.dims,)
    assert np.allclose(found, plain(some_rows(), mixture), atol=1e-4)
    assert np.isclose(np.linalg.norm(found), 1)


def test_against_scikit_image(mixture: Mixture) -> None:
    """Theirs has the weights' gradients first, and the other sign for the spreads'."""
    model = GaussianMixture(3, covariance_type="diag")
    model.weights_, model.means_ = mixture.weights.astype(float), mixture.means.astype(float)
    model.covariances_ = mixture.variances.astype(float)
    model.precisions_cholesky_ = 1 / np.sqrt(model.covariances_)
    theirs = their_fisher_vector(some_rows().astype(float), model, improved=True)[3:]
    theirs[12:] *= -1
    found = fisher_vector(some_rows(), mixture)
    assert np.allclose(found, theirs / np.linalg.norm(theirs), atol=1e-4)
    shares = posteriors(some_rows(), mixture)
    assert np.allclose(shares, model.predict_proba(some_rows().astype(float)), atol=1e-5)


def test_far_rows_are_finite_and_no_rows_are_zero(mixture: Mixture) -> None:
    assert np.isfinite(fisher_vector(some_rows() * 1000, mixture)).all()
    assert not fisher_vector(some_rows(0), mixture).any()


def test_a_mixture_finds_what_there_is() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(0, 0.1, (300, 2)), rng.normal(5, 0.5, (100, 2))
    found = fit_mixture(np.concatenate([near, far]).astype(np.float32), 2, 0)
    order = np.argsort(found.means[:, 0])
    assert np.allclose(found.weights[order], [0.75, 0.25], atol=0.01)
    assert np.allclose(found.means[order], [[0, 0], [5, 5]], atol=0.15)
    assert np.allclose(found.variances[order], [[0.01] * 2, [0.25] * 2], rtol=0.4)
    again = fit_mixture(np.concatenate([near, far]).astype(np.float32), 2, 0)
    assert np.array_equal(found.means, again.means)


def test_few_rows_and_rows_that_are_alike() -> None:
    assert fit_mixture(some_rows(50), 64, 0).weights.shape == (2,)
    for n in (0, 1, 19):
        tiny = fit_mixture(some_rows(n), 64, 0)
        assert tiny.weights.tolist() == [1] and not tiny.means.any()
    alike = fit_mixture(np.ones((100, 4), np.float32), 1, 0)
    assert np.allclose(alike.means, 1) and (alike.variances > 0).all()
    assert np.isfinite(fisher_vector(np.ones((5, 4), np.float32), alike)).all()
