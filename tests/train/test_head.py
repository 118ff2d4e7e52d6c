"""Linear layers on frozen features: the closed form by hand, what it gains, its limits."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.train.head import HEADS, Labelled, _Within, fit_head, mean_map_at_r


def clusters(classes: int = 12, each: int = 8, noise: float = 4.0) -> Labelled:
    """Classes differ in 3 of 12 numbers; the others are strong noise that means nothing."""
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(classes), each)
    features = rng.normal(size=(len(labels), 12))
    features[:, 3:] *= noise
    features[:, :3] += rng.normal(size=(classes, 3))[labels] * 4
    return Labelled(features.astype(np.float32), labels, np.arange(len(labels)))


@pytest.mark.parametrize("kind", HEADS)
def test_each_kind_beats_plain_features_on_pictures_it_did_not_see(kind: str) -> None:
    data = clusters()
    train = data.take(np.flatnonzero(np.arange(96) % 8 < 5))
    asked = data.take(np.flatnonzero(np.arange(96) % 8 >= 5))
    plain = asked.features / np.linalg.norm(asked.features, axis=1, keepdims=True)
    layer = fit_head(kind, train, 8)
    assert layer.kernel.dtype == layer.bias.dtype == np.float32
    made = layer.apply(asked.features)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert mean_map_at_r(made, asked) > mean_map_at_r(plain, asked) + 0.2


def test_the_closed_form_whitens_within_classes() -> None:
    data = clusters()
    layer = _Within(data).layer(0.0, 12)
    space = data.features.astype(np.float64) @ layer.kernel
    inside = np.concatenate([space[data.labels == c] - space[data.labels == c].mean(0)
                             for c in range(12)])  # fmt: skip
    assert np.allclose(inside.T @ inside / len(space), np.eye(12), atol=1e-3)


def test_full_shrinkage_is_plain_components() -> None:
    from cbir.embed import fit

    data = clusters()
    layer = _Within(data).layer(1.0, 5)
    plain = fit(data.features, 5)
    assert np.allclose(layer.apply(data.features), plain.apply(data.features), atol=1e-4)


@pytest.mark.parametrize("rows", [96, 9])  # more and fewer than the 12 numbers of a feature
def test_the_closed_form_step_by_step(rows: int) -> None:
    """Whiten by the shrunk covariance within classes, then principal components."""
    whole = clusters()
    data = whole.take(np.arange(rows))
    features = data.features.astype(np.float64)
    centred = features - features.mean(axis=0)
    inside = np.zeros((12, 12))
    for c in set(data.labels.tolist()):
        own = features[data.labels == c]
        for row in own - own.mean(axis=0):
            inside += np.outer(row, row) / len(features)
    shrunk = 0.7 * inside + 0.3 * np.trace(inside) / 12 * np.eye(12)
    values, vectors = np.linalg.eigh(shrunk)
    white = centred @ (vectors / np.sqrt(values)) @ vectors.T
    _, _, axes = np.linalg.svd(white, full_matrices=False)
    expected = white @ axes[:5].T
    made = features @ _Within(data).layer(0.3, 5).kernel
    made -= made.mean(axis=0)
    signs = np.sign((made * expected).sum(axis=0))
    assert np.allclose(made, expected * signs, atol=1e-3)


def test_map_at_r_against_a_loop() -> None:
    data = clusters(4, 5)
    data.groups[1] = data.groups[0]
    unit = data.features / np.linalg.norm(data.features, axis=1, keepdims=True)
    total = []
    for i in range(20):
        others = [j for j in range(20) if data.groups[j] != data.groups[i]]
        others.sort(key=lambda j: -float(unit[i] @ unit[j]))
        hits = [data.labels[j] == data.labels[i] for j in others]
        r = sum(hits)
        total.append(sum(sum(hits[: k + 1]) / (k + 1) for k in range(r) if hits[k]) / r)
    assert mean_map_at_r(unit, data) == pytest.approx(np.mean(total), abs=1e-6)


def test_two_classes_and_the_smallest_sets() -> None:
    data = clusters(2, 6)
    for kind in HEADS:
        assert np.isfinite(fit_head(kind, data, 4).apply(data.features)).all()
    least = data.take(np.array([0, 6]))
    assert fit_head("projection", least, 4).kernel.shape == (12, 1)


def test_wrong_kinds_and_pictures_that_are_all_alike_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of projection"):
        fit_head("tree", clusters(), 4)
    same = Labelled(np.ones((6, 4), np.float32), np.arange(6) // 3, np.arange(6))
    with pytest.raises(UsageError, match="all alike"):
        fit_head("projection", same, 4)
