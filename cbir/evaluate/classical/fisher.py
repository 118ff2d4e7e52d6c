"""Fisher vectors: what many local descriptors say together, as one vector of fixed length.

Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image classification
(ECCV 2010); Sánchez et al., Image classification with the Fisher vector (IJCV 2013). This, with
SIFT and a linear SVM, was the best way to classify photographs before convolutional networks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from cbir.evaluate.classical.pictures import one_thread
from cbir.types import Vectors

_FLOOR = 1e-4
"""Added to every variance, so that a direction without any spread is no division by zero."""
_LOCALS_PER_COMPONENT = 20


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """A Gaussian mixture with diagonal covariances: weights (k,), means and variances (k, d), all
    float32."""

    weights: Vectors
    means: Vectors
    variances: Vectors

    @property
    def dims(self) -> int:
        """Length of a Fisher vector."""
        return 2 * self.means.size


def fit_mixture(rows: Vectors, components: int, seed: int) -> Mixture:
    """Fit a mixture to local descriptors float32 (n, d) by expectation maximisation.

    Fewer components than asked where there are fewer than 20 descriptors for each; without any
    descriptor it is one standard normal distribution, so that all Fisher vectors are zero.
    """
    d = rows.shape[1]
    count = min(components, len(rows) // _LOCALS_PER_COMPONENT)
    if count < 1:
        one = np.ones((1, d), np.float32)
        return Mixture(np.ones(1, np.float32), one * 0, one)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        count, covariance_type="diag", reg_covar=_FLOOR, max_iter=50, tol=1e-3,
        init_params="k-means++", random_state=seed,
    )  # fmt: skip
    with one_thread(), warnings.catch_warnings():
        # The last percent of the likelihood is no matter here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows.astype(np.float64))
    return Mixture(
        *(np.asarray(a, np.float32) for a in (model.weights_, model.means_, model.covariances_))
    )


def posteriors(rows: Vectors, mixture: Mixture) -> Vectors:
    """Probability of each component for each row: (n, d) → (n, k), rows sum to one."""
    precision = 1 / mixture.variances
    scaled = mixture.means * precision
    constant = (
        np.log(mixture.weights)
        - 0.5 * np.log(mixture.variances).sum(axis=1)
        - 0.5 * (mixture.means * scaled).sum(axis=1)
    )
    logs = rows @ scaled.T - 0.5 * (rows * rows) @ precision.T + constant
    logs -= logs.max(axis=1, keepdims=True)
    np.exp(logs, out=logs)
    return np.asarray(logs / logs.sum(axis=1, keepdims=True), np.float32)


def fisher_vector(rows: Vectors, mixture: Mixture) -> Vectors:
    """Local descriptors float32 (n, d) → improved Fisher vector float32 (2 * k * d,), unit length.

    The gradients by the means, then by the standard deviations (IJCV 2013, equations 17 and 18),
    each entry's signed root, then unit length. Zero where there are no rows.
    """
    if not len(rows):
        return np.zeros(mixture.dims, np.float32)
    share = posteriors(rows, mixture)
    mass = share.sum(axis=0)[:, None]
    first, second = share.T @ rows, share.T @ (rows * rows)
    root, spread = np.sqrt(mixture.weights)[:, None], np.sqrt(mixture.variances)
    by_mean = (first - mass * mixture.means) / (root * spread)
    centred = second - 2 * first * mixture.means + mass * mixture.means**2
    by_spread = (centred / mixture.variances - mass) / (np.sqrt(np.float32(2)) * root)
    whole = np.concatenate([by_mean.ravel(), by_spread.ravel()]) / len(rows)
    whole = np.sign(whole) * np.sqrt(np.abs(whole))
    length = np.linalg.norm(whole)
    return np.asarray(whole / length if length else whole, np.float32)
