"""Miners against plain loops."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cbir.train import mining
from tests.train.losses import loops
from tests.train.losses.helpers import Array, batch, plain


def masks(labels: Array) -> tuple[Array, Array]:
    same = labels[:, None] == labels[None]
    return same & ~np.eye(len(labels), dtype=bool), ~same


def similar(seed: int) -> tuple[Array, Array, Array, Array]:
    """Similarities (10, 10), labels, positives and negatives; one class has one image."""
    labels = batch(seed)[1]
    labels[0] = 9
    similarities = np.random.default_rng(seed).uniform(-1, 1, (10, 10)).astype(np.float32)
    return similarities, labels, *masks(labels)


def triplets(positive: Any, negative: Any, counts: Any) -> loops.Triplets:
    """What a miner chose, as the loops say it."""
    positive, negative, counts = (plain(one) for one in (positive, negative, counts))
    if counts.ndim == 2:
        return [(int(a), int(p), int(negative[a, p])) for a, p in np.argwhere(counts)]
    return [(a, int(positive[a]), int(negative[a])) for a in np.flatnonzero(counts).tolist()]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["batch_hard", "easy_positive"])
def test_one_triplet_an_anchor(name: str, seed: int) -> None:
    similarities, labels, positives, negatives = similar(seed)
    found = triplets(*getattr(mining, name)(similarities, positives, negatives))
    assert found == getattr(loops, name)(1 - similarities, labels)
    assert 0 not in [a for a, _, _ in found]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_semi_hard(seed: int) -> None:
    similarities, labels, positives, negatives = similar(seed)
    chosen, counts = mining.semi_hard(similarities, positives, negatives)
    expected = loops.semi_hard(1 - similarities, labels)
    assert triplets(chosen, chosen, counts) == expected
    farther = [similarities[a, n] < similarities[a, p] for a, p, n in expected]
    assert any(farther) and not all(farther)  # both rules are in this case


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
def test_multi_similarity(margin: float) -> None:
    similarities, labels, positives, negatives = similar(1)
    near, far = mining.multi_similarity(similarities, positives, negatives, margin)
    expected_near, expected_far = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    for a in range(10):
        mine, others = loops.positives_of(a, labels), loops.negatives_of(a, labels)
        for p in mine:
            expected_near[a, p] = similarities[a, p] < max(similarities[a, others]) + margin
        for n in others:
            if mine:
                expected_far[a, n] = similarities[a, n] > min(similarities[a, mine]) - margin
    np.testing.assert_array_equal(plain(near), expected_near)
    np.testing.assert_array_equal(plain(far), expected_far)
    assert 0 < expected_far.sum() < negatives.sum()


def test_nothing_to_mine() -> None:
    similarities = np.ones((3, 3), np.float32)
    none, every = np.zeros((3, 3), bool), ~np.eye(3, dtype=bool)
    for positives, negatives in ((none, every), (every, none), (none, none)):
        for miner in (mining.batch_hard, mining.easy_positive, mining.semi_hard):
            assert not plain(miner(similarities, positives, negatives)[-1]).any()
        for mask in mining.multi_similarity(similarities, positives, negatives, 0.1):
            assert not plain(mask).any()


@pytest.mark.parametrize("dims", [2, 3, 5, 512])
def test_weights_of_distances(dims: int) -> None:
    apart = np.array([0.0, 0.3, 0.7, 1.2, 1.41, 1.9, 2.0], np.float32)
    found = plain(mining.sphere_log_weights(apart, dims))
    expected = [loops.sphere_log_weight(float(d), dims) for d in apart]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found[0] == found[1]  # both nearer than what is told apart
    assert found[-1] == found[-2] <= found.min() + (dims < 4)  # far ones are the last to be drawn


def test_weights_undo_the_density_of_random_points() -> None:
    """Distances of random points on a sphere, weighted, are even over the common range."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40_000, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = np.linalg.norm(rows[:20_000] - rows[20_000:], axis=1)
    weights = np.exp(plain(mining.sphere_log_weights(apart.astype(np.float32), 8)))
    counts, _ = np.histogram(apart, np.linspace(0.8, 1.4, 7), weights=weights)
    assert counts.max() / counts.min() < 1.15


def test_draws_are_distributed_by_weight() -> None:
    """3,000 equal anchors; references 0 to 2 are positives, 3 to 6 negatives of weights 1 to 4."""
    n, shares = 3000, np.array([1, 2, 3, 4]) / 10
    weights = np.tile(np.log([5, 5, 5, 1, 2, 3, 4]), (n, 1)).astype(np.float32) - 40
    negatives = np.tile([False] * 3 + [True] * 4, (n, 1))
    chosen, counts = mining.distance_weighted(weights, ~negatives, negatives, 7)
    np.testing.assert_array_equal(plain(counts), ~negatives)
    drawn = plain(chosen)[:, :3].ravel()
    found = np.bincount(drawn, minlength=7)[3:] / len(drawn)
    error = np.sqrt(shares * (1 - shares) / len(drawn))
    assert (np.abs(found - shares) < 4 * error).all()
    # The positives of an anchor have draws of their own.
    pairs = plain(chosen)[:, :2]
    same = float((pairs[:, 0] == pairs[:, 1]).mean())
    assert abs(same - (shares**2).sum()) < 4 * np.sqrt(0.3 * 0.7 / n)


def test_draws_go_on_from_where_a_generator_stands() -> None:
    similarities, _, positives, negatives = similar(2)

    def drawn(seed: Any) -> Array:
        return plain(mining.distance_weighted(similarities, positives, negatives, seed)[0])

    one, other = keras.random.SeedGenerator(5), keras.random.SeedGenerator(5)
    first = drawn(one)
    np.testing.assert_array_equal(first, drawn(other))
    second = drawn(one)
    assert (first != second).any()
    np.testing.assert_array_equal(second, drawn(other))
    assert not plain(positives[np.arange(10)[:, None], second]).any()
