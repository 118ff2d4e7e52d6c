"""Simple classifiers on embeddings: a linear SVM and the nearest neighbours.

What they need to be told (C, k) they find on the training part alone. Embeddings come at unit
length, as both heads want them: Perronnin, Sánchez and Mensink (ECCV 2010) for Fisher vectors,
Chatfield et al., Return of the devil in the details (BMVC 2014) for features of networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from cbir.types import Ids, Vectors

COSTS = (0.1, 1.0, 10.0)
"""C of the SVM: these are tried."""
COST = 1.0
"""C where nothing can be tried: no class has two images."""
FOLDS = 3
NEIGHBOURS = (1, 3, 5, 9, 15, 25)
"""k of the nearest neighbours: these are tried."""

Predict: TypeAlias = Callable[[Vectors], Ids]
"""Embeddings float32 (n, d) → class numbers int64 (n,)."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A classifier, and what was chosen for it ("C=1", "k=5")."""

    predict: Predict
    chosen: str


Head: TypeAlias = Callable[[Vectors, Ids, int], Trained]
"""Embeddings float32 (n, d), class numbers int64 (n,), seed → a classifier."""


def linear_svm(rows: Vectors, classes: Ids, seed: int = 0) -> Trained:
    """A linear SVM, one class against the rest; C by 3-fold cross-validation.

    Costs count classes alike, whatever their size (`class_weight="balanced"`). Each class's images
    are dealt to the folds in turn; a class with one image is always in the training part. With one
    class only, or one image a class, C is 1. scikit-learn's LinearSVC, squared hinge loss.
    """
    if len(np.unique(classes)) < 2:
        return _constant(classes)
    basis = _span(rows)
    inside = rows if basis is None else rows @ basis
    cost = _best_cost(inside, classes, seed)
    model = _svm(inside, classes, cost, seed)

    def predict(asked: Vectors) -> Ids:
        return np.asarray(model.predict(asked if basis is None else asked @ basis), np.int64)

    return Trained(predict, f"C={cost:g}")


def nearest_neighbours(rows: Vectors, classes: Ids, seed: int = 0) -> Trained:
    """Majority of the k nearest by cosine, a tie to the class whose cosines sum higher.

    k is the one with the most right answers when each training image is asked among the others;
    the smallest of several. With one image a class it is 1.
    """
    if len(np.unique(classes)) < 2:
        return _constant(classes)
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    most = np.bincount(classes).max()
    tried = [k for k in NEIGHBOURS if k == 1 or k < min(2 * most, len(rows))]
    right = [float((vote(scores, classes, k) == classes).mean()) for k in tried]
    best = tried[int(np.argmax(right))] if most > 1 else 1
    return Trained(lambda asked: vote(asked @ rows.T, classes, best), f"k={best}")


HEADS: Mapping[str, Head] = {"svm": linear_svm, "knn": nearest_neighbours}
"""All heads by name."""

TITLES: Mapping[str, str] = {"svm": "linear SVM", "knn": "k-NN"}
"""How a page names them; a head without a title goes by its name."""


def vote(scores: Vectors, classes: Ids, k: int) -> Ids:
    """Class by the k largest of each row: cosines (q, n), classes int64 (n,) → int64 (q,)."""
    places = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
    near = np.take_along_axis(scores, places, axis=1).astype(np.float64)
    votes = np.zeros((len(scores), int(classes.max()) + 1))
    sums = np.zeros(votes.shape)
    rows = np.arange(len(scores))[:, None]
    np.add.at(votes, (rows, classes[places]), 1)
    np.add.at(sums, (rows, classes[places]), near)
    # A sum of k cosines lies within k of zero, so that it orders ties and overrules no vote.
    return np.asarray((votes * (2 * k + 1) + sums).argmax(axis=1), np.int64)


def folds(classes: Ids, count: int, seed: int) -> Ids:
    """Fold of each image, int64 (n,), 0 to count - 1; -1 for the only image of a class."""
    rng = np.random.default_rng(seed)
    made = np.full(len(classes), -1, np.int64)
    start = 0
    for name in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == name))
        if len(members) > 1:
            made[members] = (start + np.arange(len(members))) % count
            start += len(members)
    return made


def _best_cost(rows: Vectors, classes: Ids, seed: int) -> float:
    fold = folds(classes, FOLDS, seed)
    asked = np.flatnonzero(fold >= 0)
    if not len(asked):
        return COST
    right: dict[float, int] = dict.fromkeys(COSTS, 0)
    for number in range(FOLDS):
        out = fold == number
        if not out.any() or len(np.unique(classes[~out])) < 2:
            continue
        for cost in COSTS:
            model = _svm(rows[~out], classes[~out], cost, seed)
            right[cost] += int((model.predict(rows[out]) == classes[out]).sum())
    return max(COSTS, key=lambda cost: (right[cost], -abs(np.log(cost / COST))))


def _span(rows: Vectors) -> Vectors | None:
    """Orthonormal columns (d, n) that span the rows; None where they would be no fewer than d.

    The normals of an SVM lie in the span of its training rows, so that nothing changes there but
    the time: with 10 rows of 10,000 numbers a thousandfold.
    """
    if len(rows) >= rows.shape[1]:
        return None
    return np.asarray(np.linalg.qr(rows.T.astype(np.float64))[0], np.float32)


def _svm(rows: Vectors, classes: Ids, cost: float, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    model = LinearSVC(
        C=cost, class_weight="balanced", dual="auto", max_iter=3000, random_state=seed
    )
    with warnings.catch_warnings():
        # What has not converged by then predicts nothing else; few images a class are meant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        return model.fit(rows, classes)


def _constant(classes: Ids) -> Trained:
    """The only class that there is."""
    only = int(classes[0])
    return Trained(lambda asked: np.full(len(asked), only, np.int64), "one class")
