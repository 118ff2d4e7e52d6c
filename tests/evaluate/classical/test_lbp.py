"""Local binary patterns against a plain loop, and what they must not see."""

from __future__ import annotations

import math

import numpy as np

from cbir.evaluate.classical import CLASSICAL, LbpSpec, lbp

ONE = LbpSpec(points=(8,), radii=(1,), grids=(1, 2))


def pattern(luma: np.ndarray, row: int, column: int) -> int:
    """Rotation-invariant uniform pattern of 8 neighbours at distance 1, by Ojala's equations."""
    side = len(luma)

    def value(y: int, x: int) -> float:
        return float(luma[y, x]) if 0 <= y < side and 0 <= x < side else 0.0

    signs = []
    for i in range(8):
        # scikit-image rounds positions to five decimals, as here.
        y = row - round(math.sin(math.tau * i / 8), 5)
        x = column + round(math.cos(math.tau * i / 8), 5)
        top, left = math.floor(y), math.floor(x)
        dy, dx = y - top, x - left
        found = (
            (1 - dy) * ((1 - dx) * value(top, left) + dx * value(top, left + 1))
            + dy * ((1 - dx) * value(top + 1, left) + dx * value(top + 1, left + 1))
        )  # fmt: skip
        signs.append(int(found - float(luma[row, column]) >= 0))
    changes = sum(signs[i] != signs[i - 1] for i in range(8))
    return sum(signs) if changes <= 2 else 9


def test_against_a_plain_loop() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = lbp(pixels, ONE)
    assert found.dtype == np.float32 and found.shape == (2, 50) and ONE.dims == 50
    for image, row in zip(pixels, found, strict=True):
        luma = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(int)
        whole, parts = [0] * 10, [0] * 40
        for y in range(8):
            for x in range(8):
                code = pattern(luma, y, x)
                whole[code] += 1
                parts[(y // 4 * 2 + x // 4) * 10 + code] += 1
        expected = [math.sqrt(count / (64 * 2)) for count in whole + parts]
        assert np.allclose(row, expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_whole_pictures_do_not_see_light_or_quarter_turns() -> None:
    spec = LbpSpec(points=(8,), radii=(1,), grids=(1,))
    image = np.random.default_rng(1).integers(40, 90, (1, 32, 32, 1), dtype=np.uint8).repeat(3, 3)
    inside = image[:, 2:-2, 2:-2]
    found = lbp(inside, spec)
    assert np.allclose(lbp(inside * 2, spec), found)
    turned = lbp(np.rot90(inside, axes=(1, 2)).copy(), spec)
    assert float((turned * found).sum()) > 0.999
    other = lbp(np.full_like(inside, 7), spec)
    assert float((other * found).sum()) < 0.7


def test_as_an_embedder() -> None:
    embedder = CLASSICAL["classical/lbp"]()
    side = embedder.spec.input_size
    assert embedder.features(np.zeros((0, side, side, 3), np.uint8)).shape == (0, 1134)
    assert embedder.feature_dims == 1134 and embedder.spec.backbone == "classical/lbp"
    flat = embedder.features(np.zeros((1, side, side, 3), np.uint8))
    assert np.isfinite(flat).all() and np.isclose(np.linalg.norm(flat), 1)
