"""Batches of m images a class: shape, balance, order of turns, repeatability."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.train.sampling import BatchSpec, epoch_batches
from cbir.types import Ids


def drawn(labels: Ids, spec: BatchSpec, seed: int = 0, **more: object) -> list[Ids]:
    return epoch_batches(labels, spec, np.random.default_rng(seed), **more)  # type: ignore[arg-type]


def test_each_batch_has_m_images_of_p_different_classes() -> None:
    labels = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 40])
    batches = drawn(labels, BatchSpec(4, 3))
    assert len(batches) == round(76 / 12)
    for rows in batches:
        assert rows.shape == (12,)
        assert sorted(Counter(labels[rows].tolist()).values()) == [3, 3, 3, 3]


def test_classes_take_turns_however_large_they_are() -> None:
    labels = np.repeat(np.arange(10), [2] * 9 + [102])
    seen = Counter(c for rows in drawn(labels, BatchSpec(4, 3)) for c in set(labels[rows].tolist()))
    assert max(seen.values()) - min(seen[c] for c in range(10)) <= 2


def test_no_picture_comes_again_before_all_of_its_class_came() -> None:
    labels = np.repeat(np.arange(2), 6)
    rows = np.concatenate(drawn(labels, BatchSpec(2, 3)))
    assert sorted(rows.tolist()) == list(range(12))


def test_a_class_with_one_picture_shows_it_several_times() -> None:
    labels = np.array([0, 1, 1, 1])
    (rows,) = drawn(labels, BatchSpec(12, 4))
    assert (rows == 0).sum() == 4 and len(rows) == 8


def test_partners_come_into_the_same_batch() -> None:
    labels = np.repeat(np.arange(20), 4)
    partners = {3: np.array([17]), 17: np.array([3])}
    for rows in drawn(labels, BatchSpec(4, 2), partners=partners):
        classes = labels[rows].tolist()
        if 3 in classes and classes.index(3) < 6:  # the last one has no room beside it
            assert 17 in classes


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(20), 4)
    a, b, c = (drawn(labels, BatchSpec(), seed) for seed in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


def test_a_batch_needs_two_classes() -> None:
    with pytest.raises(UsageError, match="at least 2 classes"):
        BatchSpec(1, 4)
