"""Dense SIFT against a plain loop, and against scikit-image's own descriptor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage import data
from skimage.feature import SIFT

from cbir.evaluate.classical import SiftSpec, dense_sift
from cbir.evaluate.classical.sift import grey, grid
from cbir.images import resize

ONE = SiftSpec(cells=(4,), step=5, blur=0.25, contrast=0)


def photo(side: int = 48) -> np.ndarray:
    return grey(resize(np.asarray(data.astronaut()), side))


def smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian, mirrored at the borders, along one axis and then the other."""
    reach = math.ceil(4 * sigma)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-reach, reach + 1)]
    padded = np.pad(image.astype(float), reach, mode="symmetric")
    kernel = np.array(weights) / sum(weights)
    for axis in (0, 1):
        padded = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, padded)
    return padded[reach:-reach, reach:-reach]


def plain_descriptor(image: np.ndarray, row: float, column: float, cell: int) -> np.ndarray:
    """Lowe's descriptor of one upright patch, pixel by pixel; RootSIFT at the end."""
    image = smoothed(image, cell * ONE.blur)
    down, right = np.gradient(image)
    found = np.zeros((4, 4, 8))
    for y in range(len(image)):
        for x in range(len(image)):
            turn = (math.atan2(down[y, x], right[y, x]) % math.tau) / math.tau * 8
            length = math.hypot(down[y, x], right[y, x])
            far = ((y - row) ** 2 + (x - column) ** 2) / (2 * cell) ** 2
            for i in range(4):
                for j in range(4):
                    by_row = 1 - abs(y - row - (i - 1.5) * cell) / cell
                    by_column = 1 - abs(x - column - (j - 1.5) * cell) / cell
                    if by_row <= 0 or by_column <= 0:
                        continue
                    weight = by_row * by_column * math.exp(-0.5 * far) * length
                    low = math.floor(turn)
                    found[i, j, low % 8] += weight * (1 - turn + low)
                    found[i, j, (low + 1) % 8] += weight * (turn - low)
    flat = found.ravel() / np.linalg.norm(found)
    flat = np.minimum(flat, 0.2)
    return np.sqrt(flat / flat.sum())


def test_against_a_plain_loop() -> None:
    image = photo(32)
    found, places = dense_sift(image, ONE)
    middles = grid(32, 4, 5)
    assert middles.tolist() == [8, 13, 18, 23] and len(found) == 16
    assert found.dtype == places.dtype == np.float32
    for at in (0, 6, 15):
        row, column = middles[at // 4], middles[at % 4]
        assert np.allclose(found[at], plain_descriptor(image, row, column, 4), atol=2e-4)
        assert places[at].tolist() == pytest.approx(
            [(row + 0.5) / 32 - 0.5, (column + 0.5) / 32 - 0.5, math.log2(16 / 32)]
        )
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_near_the_descriptor_of_scikit_image() -> None:
    """The same patches, given by hand: there a cell is 3 sigma wide, and angles run from "down"
    to "right" instead of from "right" to "down"."""
    image = photo(96)
    cell, middles = 6, grid(96, 6, 20)
    spec = SiftSpec(cells=(cell,), step=20, blur=1 / 3, contrast=0)
    ours, _ = dense_sift(image, spec)
    rows, columns = (a.ravel() for a in np.meshgrid(middles, middles, indexing="ij"))
    theirs = SIFT(upsampling=1, n_octaves=1)
    theirs.positions = np.stack([rows, columns], 1)
    theirs.sigmas = np.full(len(rows), cell / 3)
    theirs.scales = np.full(len(rows), 1)  # smoothing 1.6 * 2 ** (1 / 3) = 2.0
    theirs.octaves = np.zeros(len(rows), int)
    theirs.orientations = np.zeros(len(rows))
    theirs.extract(image.astype(np.float64))
    shaped = theirs.descriptors.reshape(-1, 4, 4, 8).astype(float)
    turned = np.stack([shaped[..., (2 - o) % 8] for o in range(8)], -1).reshape(len(rows), 128)
    rooted = np.sqrt(turned / turned.sum(1, keepdims=True))
    cosines = (ours * rooted).sum(1)
    assert cosines.min() > 0.99
    assert (ours * np.roll(rooted, 1, 0)).sum(1).max() < 0.98  # of other patches


def test_patches_lie_inside_and_evenly() -> None:
    for side, cell, step in ((160, 5, 6), (160, 18, 6), (41, 10, 7), (40, 10, 7)):
        middles = grid(side, cell, step)
        assert len(middles) and middles[0] >= 2 * cell - 0.5 - 1e-4
        assert middles[-1] <= side - 0.5 - 2 * cell + 1e-4
        assert np.isclose(middles[0] + middles[-1], side - 1)
    assert len(grid(39, 10, 7)) == 0


def test_no_contrast_no_descriptor() -> None:
    for value in (0.0, 0.5, 1.0):
        found, places = dense_sift(np.full((64, 64), value, np.float32), SiftSpec())
        assert found.shape == (0, 128) and places.shape == (0, 3)
    half = photo(64)
    half[:, :32] = 0.5
    found, places = dense_sift(half, SiftSpec(cells=(4,)))
    assert len(found) and places[:, 1].min() > -0.3
    small, _ = dense_sift(np.zeros((8, 8), np.float32), SiftSpec())
    assert small.shape == (0, 128)


def test_brighter_is_the_same() -> None:
    image = photo()
    first, _ = dense_sift(image, ONE)
    second, _ = dense_sift(image * 0.5 + 0.3, ONE)
    assert np.allclose(first, second, atol=1e-3)


def test_grey_is_the_luma() -> None:
    image = np.array([[[255, 255, 255], [255, 0, 0], [0, 0, 0]]], np.uint8)
    assert grey(image).tolist()[0] == pytest.approx([1, 0.299, 0])
