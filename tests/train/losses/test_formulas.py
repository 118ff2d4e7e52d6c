"""Every loss, and its gradient, against a plain loop written from the paper's equation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from cbir.train.losses import make
from tests.train.losses.helpers import VARIANTS, Array, batch, gradients, plain, variant
from tests.train.losses.loops import LOOPS


def weights_of(layer: Any) -> list[Array]:
    return [plain(v).astype(np.float64) for v in layer.trainable_variables]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_loss_is_what_its_paper_says(name: str, seed: int) -> None:
    layer, (rows, labels) = variant(name), batch(seed)
    expected = LOOPS[VARIANTS[name][0]](rows.astype(np.float64), labels, layer, weights_of(layer))
    assert expected > 0
    assert float(layer(rows, labels)) == pytest.approx(expected, rel=2e-5, abs=2e-6)


def slope(function: Any, at: Array, direction: Array) -> float:
    """The central difference of a function of one array along a direction, in float64."""
    step = 1e-6
    return float(function(at + step * direction) - function(at - step * direction)) / (2 * step)


def directions(shape: tuple[int, ...], whole: bool) -> list[Array]:
    """Every entry by itself, or six random directions of length 1."""
    if whole:
        return list(np.eye(math.prod(shape)).reshape(-1, *shape))
    random = np.random.default_rng(0).normal(size=(6, *shape))
    return [one / np.linalg.norm(one) for one in random]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_gradient_is_the_loops_own(name: str) -> None:
    layer, (rows, labels) = variant(name), batch(4, n=8)
    loop = LOOPS[VARIANTS[name][0]]
    places = [rows.astype(np.float64), *weights_of(layer)]
    if name == "circle":  # its weights are constant to the gradient
        loop = partial(loop, frozen=places[0])
    _, found = gradients(layer, rows, labels)
    assert len(found) == len(places)
    for i, gradient in enumerate(found):

        def of_place(at: Array, i: int = i) -> float:
            moved = [*places[:i], at, *places[i + 1 :]]
            return loop(moved[0], labels, layer, moved[1:])

        along = directions(places[i].shape, whole=i == 0)
        expected = np.array([slope(of_place, places[i], one) for one in along])
        mine = np.array([float((gradient * one).sum()) for one in along])
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(mine, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


# Cases by hand: unit vectors at 0°, 90°, 60° and 180° of the first.
EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
SLANT = (0.5, math.sqrt(0.75))


@pytest.mark.parametrize(
    ("name", "options", "rows", "labels", "expected"),
    [
        # Two of a class at a right angle: D² = 2; no negatives.
        ("contrastive", {}, [EAST, NORTH], [0, 0], 2.0),
        # Opposite negatives are at D = 2, past the margin of .5.
        ("contrastive", {}, [EAST, WEST], [0, 1], 0.0),
        # Negatives at 60° are at D = 1, within 1.5 by .5.
        ("contrastive", {"margin": 1.5}, [EAST, SLANT], [0, 1], 0.25),
        # Anchors EAST: D(p) = √2, D(n) = 1; NORTH: √2 and D(NORTH, SLANT) = 2 sin 15°.
        ("triplet", {"mining": "batch-hard"}, [EAST, NORTH, SLANT], [0, 0, 1],
         0.2 + math.sqrt(2) - (1 + 2 * math.sin(math.pi / 12)) / 2),
        # No negative is farther than the positive: the farthest is taken, which is the only one.
        ("triplet", {"mining": "semi-hard"}, [EAST, NORTH, SLANT], [0, 0, 1],
         0.2 + math.sqrt(2) - (1 + 2 * math.sin(math.pi / 12)) / 2),
        # EAST, EAST against one orthogonal negative: log(1 + e^(0 - 1)) and |x|² = 1.
        ("n-pair", {}, [EAST, EAST, NORTH], [0, 0, 1], math.log(1 + math.exp(-1)) + 0.001),
        # Cosines 1 and 0 at temperature .5.
        ("nt-xent", {"temperature": 0.5}, [EAST, EAST, NORTH], [0, 0, 1],
         math.log(1 + math.exp(-2))),
        ("supcon", {"temperature": 0.5}, [EAST, EAST, NORTH], [0, 0, 1],
         math.log(1 + math.exp(-2))),
        # The positive (cosine 0) ranks second of two, behind cosine .5: AP = 1/2; for NORTH too.
        ("smooth-ap", {}, [EAST, NORTH, SLANT], [0, 0, 1], 0.5),
        # Ranks 2 of 2, k = 1: the sigmoid of 1 - 2.
        ("recall-at-k", {"largest_k": 1}, [EAST, NORTH, SLANT], [0, 0, 1],
         1 - 1 / (1 + math.e)),
        # m = .4, s_p = 1, s_n = 0: α_p = .4, α_n = .4; exp(γ .4 (-.4)) exp(-γ .4 .4), γ = 5.
        ("circle", {"gamma": 5.0}, [EAST, EAST, NORTH], [0, 0, 1],
         math.log(1 + math.exp(-0.8 - 0.8))),
        # No negative comes near, no pair is mined: cosine 0 is not above 1 - .1.
        ("multi-similarity", {}, [EAST, EAST, NORTH], [0, 0, 1], 0.0),
    ],
)  # fmt: skip
def test_cases_by_hand(
    name: str, options: dict[str, Any], rows: list[Any], labels: list[int], expected: float
) -> None:
    layer = make(name, 2, 2, options=options)
    found = float(layer(np.array(rows, np.float32), np.array(labels)))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Proxies EAST and NORTH, one row EAST of class 0.
        ("normalised-softmax", math.log(1 + math.exp(-20))),
        ("proxy-nca++", math.log(1 + math.exp(-18))),
        ("cosface", math.log(1 + math.exp(64 * (0 - (1 - 0.35))))),
        ("proxy-anchor", math.log(1 + math.exp(-32 * 0.9)) + math.log(1 + math.exp(3.2)) / 2),
    ],
)
def test_proxies_by_hand(name: str, expected: float) -> None:
    layer = make(name, 2, 2)
    layer.proxies.assign(np.array([EAST, NORTH]) * 7)
    found = float(layer(np.array([EAST], np.float32), np.array([0])))
    assert found == pytest.approx(expected, abs=1e-6)


def test_arcface_keeps_falling_past_the_half_turn() -> None:
    layer = make("arcface", 2, 2, options={"margin": 0.5})
    cosines = np.linspace(-1, 1, 401).astype(np.float32)
    widened = plain(layer.widened(cosines))
    assert (np.diff(widened) > 0).all()  # the more alike, the larger: the pull has one direction
    inside = cosines > math.cos(math.pi - 0.5)
    angles = np.arccos(cosines[inside].astype(np.float64))
    np.testing.assert_allclose(widened[inside][:-1], np.cos(angles + 0.5)[:-1], atol=1e-5)
    assert np.abs(np.diff(widened)).max() < 0.06  # no jump where the two parts meet
