"""Projection: against a plain loop, against another decomposition, and where galleries are odd."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbir.embed import Projection, fit, sample_rows
from cbir.errors import UsageError
from cbir.types import Vectors


def gallery(n: int, length: int, seed: int = 0) -> Vectors:
    """Features with falling variances, none of them negative, as a ReLU makes them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.5, 1, (n, length)) * np.linspace(3, 0.5, length)
    return np.maximum(rows @ np.linalg.qr(rng.normal(size=(length, length)))[0], 0).astype("f4")


def looped(projection: Projection, features: Vectors) -> list[list[float]]:
    """What `apply` does, number by number."""
    assert projection.components is not None
    out = []
    for row in features.tolist():
        centred = [x - m for x, m in zip(row, projection.mean.tolist(), strict=True)]
        short = [
            sum(c * x for c, x in zip(component, centred, strict=True))
            for component in projection.components.tolist()
        ]
        length = sum(x * x for x in short) ** 0.5
        out.append([x / length for x in short])
    return out


@pytest.mark.parametrize("n", [7, 60])
def test_apply_against_a_loop(n: int) -> None:
    features = gallery(n, 12)
    projection = fit(features, 5)
    found = projection.apply(features)
    assert found.dtype == np.float32 and found.flags.c_contiguous and found.shape == (n, 5)
    np.testing.assert_allclose(found, looped(projection, features), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("n", "length"), [(60, 12), (12, 60), (30, 30)])
def test_components_are_those_of_a_singular_value_decomposition(n: int, length: int) -> None:
    features = gallery(n, length)
    projection = fit(features, 8)
    assert projection.components is not None
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    for own, other in zip(projection.components, right, strict=False):
        assert own[np.abs(own).argmax()] > 0
        other = other * np.sign(other[np.abs(own).argmax()])
        np.testing.assert_allclose(own, other, atol=1e-5)
    np.testing.assert_allclose(projection.mean, features.mean(axis=0), atol=1e-6)
    explained = (values[:8] ** 2).sum() / (values**2).sum()
    assert projection.explained == pytest.approx(explained)
    assert projection.fitted == n and projection.dims == 8


def test_no_whitening() -> None:
    """The variances of the projected features fall; whitening would make them equal."""
    features = gallery(400, 10)
    projection = fit(features, 10)
    assert projection.components is not None
    spread = ((features - projection.mean) @ projection.components.T).var(axis=0)
    assert np.all(np.diff(spread) < 0) and spread[0] > 3 * spread[-1]


def test_all_components_change_no_distance() -> None:
    features = gallery(50, 9)
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = fit(features, 9).apply(features)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-5)


def test_none_is_plain_unit_length() -> None:
    features = gallery(4, 6)
    projection = Projection.none(6)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(projection.apply(features), expected, atol=1e-6)
    assert projection.dims == 6 and projection.fitted == 0


def test_a_feature_without_direction_stays_finite() -> None:
    assert not Projection.none(5).apply(np.zeros((2, 5), np.float32)).any()
    features = gallery(20, 5)
    projection = fit(features, 3)
    np.testing.assert_array_equal(projection.apply(projection.mean[None]), np.zeros((1, 3)))


def test_very_small_and_very_large_features() -> None:
    for scale in (1e-30, 1e30):
        rows = (gallery(3, 5) * np.float32(scale)).astype(np.float32)
        lengths = np.linalg.norm(Projection.none(5).apply(rows), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "dims"),
    [
        (np.zeros((0, 6), np.float32), 6),
        (np.ones((1, 6), np.float32), 6),
        (np.ones((9, 6), np.float32), 6),
        (np.full((601, 6), np.pi / 7, np.float32), 6),
        (np.repeat(gallery(1, 6), 53, axis=0), 6),
        (np.repeat(gallery(1, 6), 3, axis=0), 6),
        (np.nextafter(np.repeat(gallery(1, 6), 40, axis=0), np.eye(40, 6, dtype="f4") * 9), 6),
        (gallery(2, 6), 1),
        (gallery(4, 6), 3),
        (np.repeat(gallery(3, 6), 20, axis=0), 2),
        (gallery(50, 6)[:, [0, 1, 2, 0, 1, 2]], 3),
    ],
    ids=["none", "one", "alike", "alike and many", "copies of one",
         "few copies of one", "alike but for rounding",
         "two", "four", "copies of three", "columns repeated"],
)  # fmt: skip
def test_dims_are_what_the_gallery_spans(features: Vectors, dims: int) -> None:
    projection = fit(features, 6)
    assert projection.dims == dims
    embeddings = projection.apply(features)
    assert embeddings.shape == (len(features), dims)
    assert np.isfinite(embeddings).all()
    components = projection.components
    if components is not None:
        np.testing.assert_allclose(components @ components.T, np.eye(dims), atol=1e-5)


def test_fitting_twice_gives_the_same() -> None:
    features = gallery(80, 20)
    assert fit(features, 7).to_bytes() == fit(features.copy(), 7).to_bytes()


@pytest.mark.parametrize(("n", "length"), [(80, 20), (20, 80)])
def test_the_order_of_the_gallery_changes_nothing(n: int, length: int) -> None:
    """Signs included: they come from a component's largest entry."""
    features = gallery(n, length)
    order = np.random.default_rng(5).permutation(n)
    first, second = fit(features, 7), fit(features[order], 7)
    assert first.components is not None and second.components is not None
    np.testing.assert_allclose(first.components, second.components, atol=1e-5)
    np.testing.assert_allclose(first.apply(features), second.apply(features), atol=1e-5)


def test_both_ways_of_fitting_agree() -> None:
    """Few rows go by the Gram matrix, many by the covariance: here, the same rows twice."""
    features = gallery(30, 40)
    few, many = fit(features, 9), fit(np.concatenate([features, features]), 9)
    assert few.components is not None and many.components is not None
    np.testing.assert_allclose(few.components, many.components, atol=1e-5)
    assert few.explained == pytest.approx(many.explained)


def test_inputs_stay_as_they_are() -> None:
    features = gallery(30, 8)
    before = features.copy()
    fit(features, 4).apply(features)
    Projection.none(8).apply(features)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("projection", [fit(gallery(30, 8), 4), Projection.none(8)])
def test_bytes_there_and_back(projection: Projection) -> None:
    again = Projection.from_bytes(projection.to_bytes())
    features = gallery(5, 8, seed=1)
    np.testing.assert_array_equal(again.apply(features), projection.apply(features))
    assert (again.dims, again.fitted, again.explained) == (
        projection.dims, projection.fitted, projection.explained)  # fmt: skip


def packed(**arrays: Any) -> bytes:
    good = fit(gallery(30, 8), 4)
    parts: dict[str, Any] = {"version": 1, "mean": good.mean, "components": good.components,
                             "fitted": 30, "explained": 0.9}  # fmt: skip
    out = io.BytesIO()
    np.savez(out, **{**parts, **arrays})
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip file",
        packed()[:-10],
        packed(version=2),
        packed(mean=np.zeros(7, np.float32)),
        packed(mean=np.zeros((8, 1), np.float32)),
        packed(components=np.full((4, 8), np.nan, np.float32)),
        packed(mean=np.full(8, np.inf, np.float32)),
        packed(mean=np.array([None] * 8, dtype=object)),
        packed(mean=np.zeros(8, np.float64)),
        packed(components=np.zeros((4, 8), np.int64)),
    ],
)
def test_bytes_that_are_no_projection_are_refused(data: bytes) -> None:
    assert Projection.from_bytes(packed()).dims == 4
    with pytest.raises(ValueError):
        Projection.from_bytes(data)


@pytest.mark.parametrize("shape", [(8,), (2, 7), (1, 2, 8)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected shape \(n, 8\)"):
        fit(gallery(30, 8), 4).apply(np.zeros(shape, np.float32))


# -- samples --------------------------------------------------------------------------------------

KEYS = [i.to_bytes(16, "big") for i in range(200)]


@given(st.permutations(range(200)), st.integers(0, 200), st.integers(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_sample_does_not_depend_on_the_order(order: list[int], size: int, seed: int) -> None:
    first = {KEYS[i] for i in sample_rows(KEYS, size, seed)}
    shuffled = [KEYS[i] for i in order]
    rows = sample_rows(shuffled, size, seed)
    assert {shuffled[i] for i in rows} == first and len(rows) == size
    assert rows.dtype == np.int64 and np.all(np.diff(rows) > 0)


def test_samples_of_other_seeds_differ_and_are_spread() -> None:
    first, second = set(sample_rows(KEYS, 50, 0)), set(sample_rows(KEYS, 50, 1))
    assert first != second
    assert 5 <= sum(row < 50 for row in first) <= 21  # 12.5 expected


def test_a_sample_is_stable_while_the_gallery_grows() -> None:
    before = {KEYS[i] for i in sample_rows(KEYS[:190], 50, 0)}
    after = {KEYS[i] for i in sample_rows(KEYS, 50, 0)}
    assert len(before - after) <= 10 and after - before <= set(KEYS[190:])


def test_a_sample_of_few_is_all() -> None:
    assert sample_rows(KEYS[:3], 5, 0).tolist() == [0, 1, 2]
    assert sample_rows([], 5, 0).tolist() == []
