"""What shows the same: neighbours, what stands out of them, chains of copies."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.evaluate import families as module
from cbir.evaluate.families import Around, Likeness, families, first_standing, neighbours, take_out
from cbir.evaluate.gallery import Gallery
from cbir.query.match import NEAREST, Space, centre
from tests.evaluate.galleries import made

AS_IT_IS = Space(np.zeros(3, np.float32))

# -- what is near --------------------------------------------------------------------------------


def test_neighbours_have_cosines_in_the_space() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4)).astype(np.float32) + 1
    gallery, space = made(features), centre(features)
    around = neighbours(gallery, space, features[:5], 7)
    assert around.rows.shape == (5, 7)
    for query in range(5):
        for row, cosine in zip(around.rows[query], around.cosines[query], strict=True):
            a, b = (features[i].astype(np.float64) - features.mean(axis=0) for i in (query, row))
            assert cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)


def test_rows_are_taken_out_and_the_rest_moves_up() -> None:
    around = Around(np.array([[4, 2, 7, -1], [1, 4, 4, 0]]),
                    np.array([[0.9, 0.8, 0.7, -np.inf], [0.6, 0.5, 0.4, 0.3]]))  # fmt: skip
    left = take_out(around, [{2}, {4, 1}])
    rows, cosines = left.nearest()
    assert rows.tolist() == [[4, 7, -1, -1], [0, -1, -1, -1]]
    assert cosines.tolist() == [[0.9, 0.7, -np.inf, -np.inf], [0.3, *[-np.inf] * 3]]
    assert around.rows[0].tolist() == [4, 2, 7, -1]
    wide = Around(np.arange(90)[None], -np.arange(90.0)[None])
    assert wide.nearest()[0].tolist() == [list(range(NEAREST))]


def test_the_first_that_is_left_stands_out_of_the_tenth() -> None:
    rows = np.arange(12)[None].repeat(3, axis=0)
    cosines = np.linspace(1.0, 0.45, 12)[None].repeat(3, axis=0)
    around = take_out(Around(rows, cosines), [{0}, {0, 1, 2}, set(range(12))])
    first, standing = first_standing(around, cap=0.6)
    assert first.tolist() == [1, 3, -1]
    # tenth of those left: .5; nine left: the cap; none left: the opposite of the query
    assert np.allclose(standing, [0.95 - 0.5, 0.85 - 0.6, -1 - 0.6])


def test_how_cosines_fall_off_by_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    cosines = rng.uniform(-1, 1, size=(4, 300))
    own = np.zeros((4, 300), bool)
    own[np.arange(4), np.argmax(cosines, axis=1)] = True
    level, step = module._fall_off(cosines, own)
    for row in range(4):
        left = sorted((v for v, o in zip(cosines[row], own[row], strict=True) if not o),
                      reverse=True)  # fmt: skip
        gaps = [rank * (left[rank - 1] - left[rank]) for rank in range(10, 60)]
        assert level[row] == pytest.approx(left[9])
        assert step[row] == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("size", [0, 1, 40, 99])
def test_a_small_gallery_does_not_tell_how_cosines_fall_off(size: int) -> None:
    level, step = module._fall_off(np.zeros((2, size)), np.zeros((2, size), bool))
    assert level.tolist() == [0, 0] and step.tolist() == [np.inf, np.inf]


# -- families ------------------------------------------------------------------------------------


def chain(dims: int = 64) -> np.ndarray:
    """Sixty unlike pictures; 0-1-2-3-4 is a chain, each like the next only; 10, 11, 12 are alike.

    Two neighbours of the chain have the cosine 1/2, two others of it none.
    """
    rows = np.eye(60, dims, dtype=np.float32)
    for i in range(1, 5):
        rows[i, :] = 0
        rows[i, [i - 1, i]] = 1
    rows[0, :] = 0
    rows[0, 0] = rows[0, 63] = 1
    rows[11], rows[12] = rows[10], rows[10]
    return rows


def test_families_are_closed_over_two_hops() -> None:
    gallery = made(chain())
    like = Likeness(Space(np.zeros(64, np.float32)), cap=0.5, alike=0.4)
    found = families(gallery, np.array([0, 2, 4, 10, 12, 30]), like)
    assert found == [{0, 1, 2, 3}, {0, 1, 2, 3, 4}, {1, 2, 3, 4}, {10, 11, 12}, {10, 11, 12}, {30}]


def test_families_of_one_family() -> None:
    """All alike: everybody shows the same, whether or not there is a background."""
    gallery = made(np.ones((50, 4), np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.2, alike=0.5)
    assert families(gallery, np.array([3, 7]), like) == [set(range(50))] * 2
    assert families(gallery, np.empty(0, np.int64), like) == []


def test_the_work_on_families_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = module._linked

    def counted(gallery: Gallery, rows: np.ndarray, like: Likeness) -> list[set[int]]:
        asked.append(len(rows))
        return real(gallery, rows, like)

    monkeypatch.setattr(module, "_ASKED", 5)
    monkeypatch.setattr(module, "_linked", counted)
    gallery = made(np.ones((50, 4), np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.2, alike=0.5)
    assert families(gallery, np.array([3, 7]), like) == [set(range(50))] * 2
    assert asked == [2, 7, 7]


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gallery = made(rng.normal(size=(200, 4)).astype(np.float32))
    like = Likeness(Space(np.zeros(4, np.float32)), cap=0.9, alike=0.05)
    rows = np.arange(60)
    whole = module._linked(gallery, rows, like)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert module._linked(gallery, rows, like) == whole and any(whole)
