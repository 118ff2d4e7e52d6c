"""Protocols of random vectors, large enough for every case: ties, junk, nothing to find."""

from __future__ import annotations

import numpy as np

from cbir.evaluate.answers import Answers
from cbir.evaluate.ground_truth import Query, Truth, from_labels
from cbir.evaluate.protocol import rank
from cbir.types import Vectors


def vectors_of(labels: list[str], seed: int = 0, noise: float = 1.2, dims: int = 6) -> Vectors:
    """Unit vectors, float32 (n, dims): those of one label lie about one place."""
    rng = np.random.default_rng(seed)
    places = {label: rng.normal(size=dims) for label in sorted(set(labels))}
    made = np.array([places[label] + noise * rng.normal(size=dims) for label in labels])
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def labelled(queries: int = 40, gallery: int = 120, seed: int = 0) -> tuple[Truth, Answers]:
    """Five classes in the gallery; a sixth, of the last three queries, has nothing to find."""
    rng = np.random.default_rng(seed)
    labels = [f"class {n}" for n in rng.integers(0, 5, queries - 3)]
    labels += ["alone"] * 3 + [f"class {n}" for n in rng.integers(0, 5, gallery)]
    n = queries + gallery
    paths = [f"/data/{'query' if i < queries else 'gallery'}/{i}.jpg" for i in range(n)]
    truth = from_labels("test", paths, labels, (range(queries), range(queries, n)))
    vectors = vectors_of(labels, seed)
    return truth, rank(truth, vectors[:queries], vectors[queries:], "x")


def positions(*places: int) -> np.ndarray:
    """Positions as `Query` has them."""
    return np.array(places, np.int64)


def unlabelled(*queries: Query, n: int) -> Truth:
    """A gallery of n pictures without labels, queries after it."""
    paths = tuple(f"/g/{i}.jpg" for i in range(n + len(queries)))
    return Truth("test", paths, ("",) * len(paths), positions(*range(n)), queries)
