"""From score to match: the space, the background, the rising function, what is stored."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbir.query.match import (
    DIMS,
    SHRINKAGE,
    VERSION,
    Calibration,
    Space,
    background,
    centre,
    rising,
    whiten,
)


def features(n: int, dims: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + 3
    return mixed.astype(np.float32)


def calibration(space: Space | None = None, **changes: Any) -> Calibration:
    used: dict[str, Any] = {
        "space": space or whiten(features(80)), "cap": 0.5,
        "standings": np.array([0.0, 0.2, 0.6]), "matches": np.array([0.05, 0.5, 0.98]),
        "images": 80, "about": {"queries": 20},
    }  # fmt: skip
    return Calibration(**{**used, **changes})


# -- rising --------------------------------------------------------------------------------------


def test_rising_by_hand() -> None:
    assert rising(np.array([1.0, 2, 3]), np.ones(3)).tolist() == [1, 2, 3]
    assert rising(np.array([3.0, 2, 1]), np.ones(3)).tolist() == [2, 2, 2]
    assert rising(np.array([1.0, 3, 2, 4]), np.ones(4)).tolist() == [1, 2.5, 2.5, 4]
    assert rising(np.array([1.0, 3, 2]), np.array([1.0, 1, 3])).tolist() == [1, 2.25, 2.25]
    assert rising(np.array([0.7]), np.array([2.0])).tolist() == [0.7]
    assert rising(np.empty(0), np.empty(0)).shape == (0,)


@settings(deadline=None)  # the first call imports scikit-learn
@given(
    st.lists(
        st.tuples(st.floats(-5, 5, width=16), st.floats(0.0625, 8, width=16)),
        min_size=1,
        max_size=30,
    )  # fmt: skip
)
def test_rising_is_what_scikit_learn_finds(points: list[tuple[float, float]]) -> None:
    from sklearn.isotonic import IsotonicRegression

    values, weights = np.array(points, np.float64).T
    places = np.arange(len(values))
    expected = IsotonicRegression().fit(places, values, weights).predict(places)
    found = rising(values, weights)
    assert np.allclose(found, expected, atol=1e-9) and np.all(np.diff(found) >= 0)


# -- the space -----------------------------------------------------------------------------------


def test_whitened_features_have_unit_variance_up_to_the_shrinkage() -> None:
    rows = features(200)
    space = whiten(rows)
    assert space.components is not None
    projected = (rows.astype(np.float64) - rows.mean(axis=0)) @ space.components.T
    covariance = np.zeros((6, 6))
    for row in rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0):
        covariance += np.outer(row, row) / len(rows)
    variances = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    expected = np.diag(variances / (variances + SHRINKAGE * variances.mean()))
    assert np.allclose(projected.T @ projected / len(rows), expected, atol=1e-3)
    unit = space.apply(rows)
    assert unit.dtype == np.float32 and np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    plain = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    assert np.allclose(unit, plain, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "dims", "kept"), [(2, 6, 1), (5, 20, 4), (300, 6, 6), (700, 600, DIMS)]
)
def test_components_are_bounded_by_images_dims_and_512(n: int, dims: int, kept: int) -> None:
    rows = features(n, dims)
    space = whiten(rows)
    assert space.components is not None and space.components.shape == (kept, dims)
    assert space.components.flags.c_contiguous and space.components.dtype == np.float32
    assert np.isfinite(space.apply(rows)).all()


@pytest.mark.parametrize("rows", [features(1), np.repeat(features(1), 9, axis=0)])
def test_pictures_without_variance_are_only_centred(rows: np.ndarray) -> None:
    space = whiten(rows)
    assert space.components is None and np.allclose(space.mean, rows[0])
    assert not space.apply(rows).any()  # the mean has no direction
    assert np.linalg.norm(space.apply(rows + 1)) == pytest.approx(np.sqrt(len(rows)))


def test_features_that_do_not_vary_somewhere_are_no_trouble() -> None:
    rows = features(60)
    rows[:, 2] = 7
    assert np.isfinite(whiten(rows).apply(rows)).all()


def test_centring() -> None:
    rows = features(30)
    before = rows.copy()
    space = centre(rows)
    plain = rows - rows.mean(axis=0)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.allclose(space.apply(rows), plain, atol=1e-5) and np.array_equal(rows, before)
    assert space.apply(rows[:0]).shape == (0, 6)


# -- background ----------------------------------------------------------------------------------


def test_the_background_is_the_tenth_largest() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 50))
    expected = [sorted(row, reverse=True)[9] for row in rows.tolist()]
    assert background(rows).tolist() == expected
    assert background(rows[:, :10]).tolist() == [min(row) for row in rows[:, :10].tolist()]


def test_fewer_than_ten_pictures_are_no_background() -> None:
    rows = np.linspace(0, 1, 12)[None].repeat(2, axis=0)
    assert np.all(np.isinf(background(rows[:, :9]))) and np.all(np.isinf(background(rows[:, :0])))
    rows[0, 3:] = -np.inf  # taken out
    assert background(rows).tolist() == [np.inf, pytest.approx(2 / 11)]
    assert background(rows[:0]).shape == (0,)


def test_a_standing_is_the_cosine_less_the_capped_background() -> None:
    made = calibration(cap=0.5)
    around = np.array([np.linspace(0.9, 0.0, 10), np.linspace(1.0, 0.8, 10)])
    found = made.standing(np.array([[0.9, 0.3], [1.0, 0.9]]), around)
    assert np.allclose(found, [[0.9, 0.3], [0.5, 0.4]])
    assert np.allclose(made.standing(np.array([[0.9]]), np.array([[0.9]])), [[0.4]])


def test_a_match_is_a_straight_line_between_corners_and_level_outside() -> None:
    made = calibration()
    asked = np.array([-5, 0, 0.1, 0.2, 0.4, 0.6, 5])
    assert np.allclose(made.match(asked), [0.05, 0.05, 0.275, 0.5, 0.74, 0.98, 0.98])
    assert made.match(asked.reshape(7, 1)).shape == (7, 1)


# -- rankings ------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 50), st.data())
def test_matches_never_rise_with_rank(seed: int, k: int, around: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    identical = data.draw(st.lists(st.booleans(), min_size=k, max_size=k))
    near, hits = rng.normal(size=(around, 6)), rng.normal(size=(k, 6))
    made = calibration()
    asked = made.space.apply(rng.normal(size=(1, 6)))[0]
    found = made.of_ranking(asked, made.space.apply(hits), made.space.apply(near), identical)
    assert len(found) == k and all(0 <= match <= 1 for match in found)
    assert found == sorted(found, reverse=True)
    assert all(match == 1.0 for match, same in zip(found, identical, strict=True) if same)


def test_hits_in_the_wrong_order_share_their_mean() -> None:
    space = Space(np.zeros(2, np.float32))
    made = calibration(space, cap=0.0)
    turned = [np.array([np.cos(a), np.sin(a)], np.float32) for a in np.arccos([0.2, 0.6, 0.1])]
    found = made.of_ranking(
        np.array([1, 0], np.float32), np.stack(turned), np.empty((0, 2), np.float32), [False] * 3
    )
    assert found == pytest.approx([(0.5 + 0.98) / 2] * 2 + [0.275], abs=1e-6)


# -- what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [whiten(features(200)), centre(features(50))])
def test_a_calibration_is_stored_and_read(space: Space) -> None:
    made = calibration(space)
    read = Calibration.from_bytes(made.to_bytes())
    assert (read.cap, read.images, read.about) == (0.5, 80, {"queries": 20})
    assert np.array_equal(read.standings, made.standings)
    assert np.array_equal(read.matches, made.matches)
    assert (read.space.components is None) == (space.components is None)
    rows = features(60, seed=1)
    for i in range(20):
        one, other = (
            c.of_ranking(c.space.apply(rows[i : i + 1])[0], c.space.apply(rows[20:30]),
                         c.space.apply(rows[10:]), [False] * 10)
            for c in (read, made)
        )  # fmt: skip
        assert np.allclose(one, other, atol=1e-3)


def test_tiny_and_huge_components_survive_half_precision() -> None:
    rows = features(100)
    for factor in (1e-6, 1e6):
        space = whiten(rows * np.float32(factor))
        read = Calibration.from_bytes(calibration(space).to_bytes())
        scaled = rows * np.float32(factor)
        assert np.allclose(read.space.apply(scaled), space.apply(scaled), atol=2e-3)


def altered(**changes: Any) -> bytes:
    """The bytes with some arrays replaced; None leaves one out."""
    with np.load(io.BytesIO(calibration().to_bytes())) as arrays:
        whole = {**{name: arrays[name] for name in arrays.files}, **changes}
    out = io.BytesIO()
    np.savez(out, **{name: value for name, value in whole.items() if value is not None})
    return out.getvalue()


BROKEN = {
    "empty": b"",
    "noise": b"not a calibration",
    "one array": (lambda out: (np.save(out, np.zeros(3)), out.getvalue())[1])(io.BytesIO()),
    "truncated": calibration().to_bytes()[:-200],
    "torn in the middle": calibration().to_bytes()[:700] + b"x" + calibration().to_bytes()[701:],
    "pickle": altered(about=np.array([object()])),
    "a later version": altered(version=np.array(VERSION + 1)),
    "no mean": altered(mean=None),
    "no version": altered(version=None),
    "about is no object": altered(about=np.array("[1]")),
    "about is no JSON": altered(about=np.array("{")),
    "components of other dims": altered(components=np.ones((3, 5), np.float16)),
    "components in one row": altered(components=np.ones(6, np.float16)),
    "a mean of two rows": altered(mean=np.ones((2, 6), np.float32)),
    "fewer matches": altered(matches=np.array([0.1, 0.2])),
    "no corners": altered(matches=np.empty(0), standings=np.empty(0)),
    "corners in two rows": altered(matches=np.ones((1, 3)), standings=np.ones((1, 3))),
    "matches in two rows": altered(matches=np.ones((1, 3))),
    "standings fall": altered(standings=np.array([0.3, 0.2, 0.6])),
    "matches fall": altered(matches=np.array([0.3, 0.2, 0.6])),
    "a match above 1": altered(matches=np.array([0.3, 0.4, 1.6])),
    "a match below 0": altered(matches=np.array([-0.3, 0.4, 0.6])),
    "matches not finite": altered(matches=np.array([0.3, 0.4, np.nan])),
    "standings not finite": altered(standings=np.array([np.nan, 0.4, 0.5])),
    "cap not finite": altered(cap=np.array(np.nan)),
    "mean not finite": altered(mean=np.full(6, np.inf, np.float32)),
    "components not finite": altered(components=np.full((2, 6), np.nan, np.float16)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a calibration|version|fit|rise|finite|between"):
        Calibration.from_bytes(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(place: int, change: int) -> None:
    data = bytearray(calibration().to_bytes())
    data[place % len(data)] ^= change
    try:
        read = Calibration.from_bytes(bytes(data))
    except ValueError:
        return
    assert json.dumps(dict(read.about)) and np.all(np.diff(read.matches) >= 0)
