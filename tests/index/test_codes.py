"""One byte a dimension: what it keeps of any unit vector, and that it never changes."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.index.codes import cosines, decode, encode, scale, turns
from tests.index.vectors import made, unit


@pytest.mark.parametrize("dims", [1, 2, 3, 24, 100, 256, 1500])
def test_codes_are_whole_numbers_and_stand_for_their_vectors(dims: int) -> None:
    rng = np.random.default_rng(dims)
    rows = unit(rng.normal(size=(300, dims)) * np.geomspace(1, 0.01, dims))
    rows[:10] = np.eye(dims, dtype=np.float32)[np.arange(10) % dims]  # all in one direction
    rows[10] = 0
    codes = encode(rows)
    assert codes.dtype == np.float32 and codes.shape == rows.shape
    assert np.array_equal(codes, np.rint(codes)) and codes.min() >= 0 and codes.max() <= 255
    back = decode(codes)
    assert not back[10].any()
    others = np.delete(np.arange(300), 10)
    lengths = np.linalg.norm(back[others], axis=1)
    kept = (back[others] * rows[others]).sum(axis=1) / lengths
    assert kept.min() > 0.999 and np.abs(lengths - 1).max() < 0.05


@pytest.mark.parametrize("dims", [16, 256])
def test_distances_of_codes_are_cosines(dims: int) -> None:
    rows = made(50, dims)
    codes = encode(rows).astype(np.float64)
    for i in range(0, 50, 7):
        for j in range(50):
            distance = ((codes[i] - codes[j]) ** 2).sum()
            about = cosines(np.float32([distance]), dims)[0]
            assert about == pytest.approx(float(rows[i] @ rows[j]), abs=0.02)


def test_a_row_without_direction_is_far_from_all() -> None:
    rows = np.concatenate((made(100, 32), -made(100, 32), np.zeros((1, 32), np.float32)))
    codes = encode(rows)
    far = ((codes[:-1] - codes[-1]) ** 2).sum(axis=1)
    between = ((codes[:-1, None] - codes[None, :-1]) ** 2).sum(axis=2)
    assert far.min() > between.max()


@pytest.mark.parametrize("dims", [1, 24, 64, 100, 128, 300])
def test_a_rotation_turns_and_nothing_else(dims: int) -> None:
    turn = turns(dims)
    rows = made(5, dims)
    turned = turn.forth(rows)
    assert np.allclose(turn.back(turned), rows, atol=1e-5)
    assert np.allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)
    block, count = len(turn.within), len(turn.across)
    for row, found in zip(rows[:, turn.order], turned, strict=True):  # a plain loop
        expected = row.astype(np.float64)
        for start in [0] if block * count == dims else [0, dims - block * count]:
            within = [expected[start + i * block :][:block] @ turn.within for i in range(count)]
            for i in range(count):
                mixed = sum(turn.across[i, j] * within[j] for j in range(count))
                expected[start + i * block : start + (i + 1) * block] = mixed
        assert np.allclose(found, expected, atol=1e-5)


def test_an_index_is_read_by_what_comes_later() -> None:
    """The rotation is part of the format: these numbers must never change."""
    assert scale(256) == pytest.approx(126 / 0.3125) and scale(4) == 126
    row = unit(np.arange(1, 9, dtype=np.float32)[None])
    assert encode(row)[0].tolist() == [116, 169, 131, 171, 89, 187, 186, 66]
    row = unit(np.arange(1, 71, dtype=np.float32)[None])
    assert encode(row)[0, -3:].tolist() == [126, 159, 127]
