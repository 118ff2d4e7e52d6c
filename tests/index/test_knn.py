"""The k-NN graph in blocks, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.index import KINDS, neighbours
from tests.index.vectors import Truth, live_of, made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "block"), [(0, 8), (1, 8), (2, 8), (5, 2), (300, 64)])
def test_each_image_has_its_nearest_others(kind: str, n: int, block: int) -> None:
    truth = Truth(np.arange(n, dtype=np.int64) * 3 + 2, made(n))
    found = list(neighbours(live_of(kind, truth), truth.ids(), truth.vectors_of, 4, block))
    assert [len(own) for own, _, _ in found[:-1]] == [block] * max(0, len(found) - 1)
    assert [i for own, _, _ in found for i in own.tolist()] == truth.ids().tolist()
    for own, scores, near in found:
        assert near.shape == scores.shape == (len(own), min(4, n - 1))
        for image, line, row in zip(own.tolist(), scores, near.tolist(), strict=True):
            query = truth.rows[image]
            assert row == truth.best(query, 4, lambda i, image=image: i != image).tolist()
            assert np.allclose(line, [truth.rows[i] @ query for i in row], atol=1e-6)


def test_an_image_with_more_copies_than_hits_is_not_among_them() -> None:
    rows = np.repeat(made(1), 9, axis=0)
    truth = Truth(np.arange(9, dtype=np.int64), rows)
    for own, _, near in neighbours(live_of("flat", truth), truth.ids(), truth.vectors_of, 3):
        assert near.shape == (9, 3)
        assert not (near == own[:, None]).any()
