"""Frozen features, little data: a linear layer on features that are there already, in seconds.

No picture passes the network: features come from the cache, and the layer is fitted in closed form,
or by scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbir.embed import Projection, fit
from cbir.embed.projection import RANK_TOLERANCE
from cbir.errors import UsageError
from cbir.evaluate.metrics import map_at_r
from cbir.train.split import SplitSpec, split
from cbir.types import Ids, Vectors

HEADS = ("projection", "linear", "svm")

SHRINKS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of the mean variance that within-class covariance is shrunk by; 1: plain components."""
COSTS = (0.1, 1.0, 10.0, 100.0)
_FOLDS = 3
_CLASSIFIED = 256
"""Principal components that a classifier is trained on, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A linear layer: feature (f,) → kernel (f, d), bias (d,); how it was chosen; its classes.

    `classes` are the numbers of the columns where each is a class's decision value, else empty.
    """

    kernel: Vectors
    bias: Vectors
    chosen: dict[str, float]
    classes: Ids

    def apply(self, features: Vectors) -> Vectors:
        """Unit embeddings float32 (n, d) of features float32 (n, f)."""
        return Projection.none(self.kernel.shape[1]).apply(features @ self.kernel + self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features float32 (n, f), class numbers and near-duplicate groups int64 (n,)."""

    features: Vectors
    labels: Ids
    groups: Ids

    def take(self, rows: Ids) -> Labelled:
        """Some of the rows."""
        return Labelled(self.features[rows], self.labels[rows], self.groups[rows])


def fit_head(kind: str, data: Labelled, dims: int, seed: int = 0) -> Layer:
    """A layer learned from labels. UsageError for a kind that is not known."""
    if kind == "projection":
        return label_projection(data, dims, seed)
    if kind in ("linear", "svm"):
        return class_values(kind, data, seed)
    raise UsageError(f"head: expected one of {', '.join(HEADS)}; received {kind!r}.")


def label_projection(data: Labelled, dims: int, seed: int = 0) -> Layer:
    """Whiten what varies within classes, then keep the leading principal components.

    Mikolajczyk and Matas, Improving Descriptors for Fast Tree Matching by Optimal Linear
    Projection (ICCV 2007), section 3; with the covariance shrunk towards a multiple of the identity
    (Friedman, Regularized Discriminant Analysis, JASA 1989, equation 18). How far is chosen by
    MAP@R on folds of the training classes.
    """
    scores = {shrink: 0.0 for shrink in SHRINKS}
    for part, asked in _folds(data, seed):
        space = _Within(part)
        for shrink in SHRINKS:
            made = space.layer(shrink, dims)
            scores[shrink] += mean_map_at_r(made.apply(asked.features), asked) / _FOLDS
    best = max(SHRINKS, key=lambda s: (scores[s], s))
    return _Within(data).layer(best, dims, {f"MAP@R at {s:g}": v for s, v in scores.items()})


class _Within:
    """Covariance within classes, taken apart once for any number of shrinkages."""

    def __init__(self, data: Labelled) -> None:
        from scipy.linalg import eigh

        rows = np.asarray(data.features, np.float64)
        self.mean = rows.mean(axis=0)
        rows -= self.mean
        inside = rows.copy()
        for label in np.unique(data.labels):
            inside[data.labels == label] -= inside[data.labels == label].mean(axis=0)
        values, self.vectors = eigh(inside.T @ inside / len(rows), driver="evd")
        self.values = np.maximum(values, 0)
        self.rows = rows @ self.vectors  # in the axes of the covariance within classes
        self.total = None if len(rows) < rows.shape[1] else self.rows.T @ self.rows / len(rows)

    def layer(self, shrink: float, dims: int, notes: dict[str, float] | None = None) -> Layer:
        level = self.values.mean() or 1.0
        scale = 1 / np.sqrt((1 - shrink) * self.values + shrink * level)
        components = self._components(scale, min(dims, len(scale)))
        kernel = (self.vectors * scale) @ components.T
        bias = -self.mean @ kernel
        return Layer(
            kernel.astype(np.float32), bias.astype(np.float32),
            {"shrink": shrink, **(notes or {})}, np.empty(0, np.int64),
        )  # fmt: skip

    def _components(self, scale: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
        """The leading principal components of the scaled rows, float64 (d, f)."""
        if self.total is None:
            found = fit((self.rows * scale).astype(np.float32), dims).components
            rows = np.zeros((0, len(scale))) if found is None else found.astype(np.float64)
        else:
            from scipy.linalg import eigh

            last = len(scale) - 1
            values, vectors = eigh(
                self.total * scale * scale[:, None], subset_by_index=[last - dims + 1, last]
            )
            real = values > max(values[-1] * RANK_TOLERANCE, 0)
            rows = vectors[:, real].T[::-1]
        if not len(rows):
            raise UsageError("Expected pictures that differ; received some that are all alike.")
        there = rows @ self.vectors.T  # a component's largest entry is positive, as in `fit`
        signs = np.sign(there[np.arange(len(there)), np.abs(there).argmax(axis=1)])
        return np.asarray(rows * signs[:, None], np.float64)


def class_values(kind: str, data: Labelled, seed: int = 0) -> Layer:
    """A linear classifier on the leading components; its decision values are the embedding.

    "linear": multinomial logistic regression (the linear probe); "svm": one linear SVM a class. The
    cost is chosen by 3-fold cross-validation of the accuracy. Decision values of known classes as
    a descriptor: Torresani et al., Efficient Object Category Recognition Using Classemes (ECCV
    2010). It knows the training's classes only: the plain features or `projection` serve others
    better.
    """
    start = fit(data.features, min(_CLASSIFIED, data.features.shape[1]))
    rows = start.apply(data.features)
    costs = {cost: _accuracy(kind, rows, data, cost, seed) for cost in COSTS}
    best = max(COSTS, key=lambda c: (costs[c], -c))
    machine = _classifier(kind, best, seed).fit(rows, data.labels)
    weights, offsets = np.asarray(machine.coef_), np.asarray(machine.intercept_)
    if len(weights) == 1:  # two classes share one value
        weights, offsets = np.concatenate((-weights, weights)), np.concatenate((-offsets, offsets))
    # The classifier saw unit vectors; a linear layer sees none. Offsets keep their weight by the
    # rows' usual length.
    components = start.components if start.components is not None else np.eye(rows.shape[1])
    length = float(np.linalg.norm((data.features - start.mean) @ components.T, axis=1).mean())
    kernel = components.T @ weights.T
    bias = offsets * length - start.mean @ kernel
    return Layer(
        np.asarray(kernel, np.float32), np.asarray(bias, np.float32),
        {"cost": best, **{f"accuracy at {c:g}": v for c, v in costs.items()}},
        np.asarray(machine.classes_, np.int64),
    )  # fmt: skip


def _classifier(kind: str, cost: float, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    if kind == "svm":
        return LinearSVC(C=cost, random_state=seed, max_iter=5000)
    return LogisticRegression(C=10 * cost, max_iter=1000)


def _accuracy(kind: str, rows: Vectors, data: Labelled, cost: float, seed: int) -> float:
    """Mean accuracy over folds of near-duplicate groups."""
    from cbir.evaluate.heads import folds

    fold = folds(data.labels, _FOLDS, seed)
    first = {int(g): int(f) for g, f in zip(data.groups[::-1], fold[::-1], strict=True)}
    fold = np.array([first[int(g)] for g in data.groups])
    right: list[float] = []
    for k in range(_FOLDS):
        train, asked = fold != k, fold == k
        if asked.any() and len(np.unique(data.labels[train])) > 1:
            machine = _classifier(kind, cost, seed).fit(rows[train], data.labels[train])
            right.append(float((machine.predict(rows[asked]) == data.labels[asked]).mean()))
    return float(np.mean(right)) if right else 0.0


def _folds(data: Labelled, seed: int) -> list[tuple[Labelled, Labelled]]:
    """Parts to fit on, and classes (images, where there are few classes) to ask about."""
    made = []
    for fold in range(_FOLDS):
        try:
            parts = split(
                data.labels,
                data.groups,
                SplitSpec(
                    "class" if len(np.unique(data.labels)) >= 8 else "image",
                    0.3,
                    seed=seed * 97 + fold,
                ),
            )
        except UsageError:  # too little to try anything: the mildest is taken
            return []
        made.append((data.take(parts.train), data.take(parts.validation)))
    return made


def mean_map_at_r(unit: Vectors, data: Labelled) -> float:
    """Mean MAP@R of unit rows float32 (n, d), each asked in the others but its near-duplicates."""
    found: list[float] = []
    scores: NDArray[Any] = unit @ unit.T
    for i, row in enumerate(scores):
        others = data.groups != data.groups[i]
        order = np.argsort(-row[others], kind="stable")
        relevant = (data.labels[others] == data.labels[i])[order]
        if relevant.any():
            found.append(map_at_r(relevant, int(relevant.sum())))
    return float(np.mean(found)) if found else 0.0
