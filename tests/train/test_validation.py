"""Validation protocols by class and by image: who is asked, what is relevant, what is junk."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.images import resize
from cbir.images.edits import EDITS
from cbir.train.samples import Samples
from cbir.train.split import Split
from cbir.train.validation import edited, means, validation

LABELS = ("a", "a", "a", "b", "b", "b", "c", "c")
SAMPLES = Samples("s", tuple(f"/{i}.jpg" for i in range(8)), LABELS)
NONE = np.empty(0, np.int64)


def made(train: list[int], asked: list[int], groups: list[int]) -> Split:
    return Split(np.array(train), np.array(asked), NONE, np.array(groups), 0)


def test_by_class_near_duplicates_are_junk_and_the_query_is_left_out() -> None:
    found = validation(SAMPLES, made([6, 7], [0, 1, 2, 3, 4, 5], [0, 0, 2, 3, 4, 5, 6, 7]))
    assert found is not None and found.by_class
    assert found.truth.gallery.tolist() == [0, 1, 2, 3, 4, 5]
    first, last = found.truth.queries[0], found.truth.queries[5]
    assert (first.own, first.relevant.tolist(), first.junk.tolist()) == (0, [2], [1])
    assert (last.own, last.relevant.tolist(), last.junk.tolist()) == (5, [3, 4], [])
    assert found.truth.paths[5] == "/5.jpg"


def test_by_image_the_gallery_is_what_is_trained_on() -> None:
    found = validation(SAMPLES, made([0, 1, 3, 6], [2, 4, 7], list(range(8))))
    assert found is not None and not found.by_class
    assert found.pictures.tolist() == [2, 4, 7, 0, 1, 3, 6]
    assert [q.relevant.tolist() for q in found.truth.queries] == [[0, 1], [2], [3]]
    assert all(q.own is None and not len(q.junk) for q in found.truth.queries)


def test_values_by_hand() -> None:
    found = validation(SAMPLES, made([0, 1, 3, 6], [2, 4, 7], list(range(8))))
    assert found is not None
    unit = np.zeros((7, 4), np.float32)
    # Gallery: a, a, b, c along the four axes; the queries lean towards the first ones.
    unit[3:] = np.eye(4)
    unit[0] = (0.8, 0.0, 0.6, 0.0)  # a: right, b, then a, c alike: by position
    unit[1] = (0.6, 0.0, 0.8, 0.0)  # b: right
    unit[2] = (0.8, 0.6, 0.0, 0.0)  # c: behind both a, and behind b (alike) by position
    got = means(found.answers(unit, "x"))
    assert got["recall@1"] == pytest.approx(2 / 3)
    assert got["mAP"] == pytest.approx(((1 + 2 / 3) / 2 + 1 + 1 / 4) / 3)
    assert got["MAP@R"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_nothing_kept_nothing_asked() -> None:
    assert validation(SAMPLES, made([0, 3], [], list(range(8)))) is None


def test_edits_come_back_at_the_same_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    before = pixels.copy()
    out = edited(pixels, ["", "crop-60", "turn-90"])
    assert np.array_equal(out[0], pixels[0])
    assert np.array_equal(out[1], resize(EDITS["crop-60"](pixels[1]), 20, "squash"))
    assert np.array_equal(out[2], np.rot90(pixels[2])) or np.array_equal(
        out[2], np.rot90(pixels[2], -1)
    )
    assert np.array_equal(pixels, before)
