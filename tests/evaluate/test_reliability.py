"""Reliability by hand, and a whole report on small pictures."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cbir.config import IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.calibrate import CalibrationOptions, calibrate, negative_rows
from cbir.evaluate.ground_truth import from_labels
from cbir.evaluate.reliability import (
    THRESHOLDS,
    Bin,
    HeldOut,
    ask,
    match_report,
    of_truth,
    reliability,
)
from cbir.query.match import Calibration, Space
from tests.conftest import GridEmbedder
from tests.evaluate.galleries import drawn, made, small

QUERIES = CalibrationOptions(queries=60)


def flags(*values: int) -> np.ndarray:
    return np.array(values, bool)


# -- reliability ---------------------------------------------------------------------------------


def test_by_hand() -> None:
    said = np.array([0.05, 0.92, 0.94, 0.96, 0.98])
    found = reliability(said, flags(1, 1, 1, 1, 0))
    assert [b.count for b in found.bins] == [1, 4]
    assert found.bins[1].said == pytest.approx(0.95) and found.bins[1].right == 0.75
    assert found.error == pytest.approx(0.95 / 5 + 4 * 0.2 / 5)


def test_perfect_and_opposite() -> None:
    ends = np.array([0.0, 0.0, 1.0, 1.0])
    assert reliability(ends, flags(0, 0, 1, 1)).error == 0
    assert reliability(ends, flags(1, 1, 0, 0)).error == 1
    assert reliability(ends, flags(0, 0, 1, 1)).bins == (Bin(2, 0.0, 0.0), Bin(2, 1.0, 1.0))


def test_the_bins_edges_are_below_their_bin() -> None:
    found = reliability(np.array([0.1, 0.5, 0.9, 1.0]), flags(0, 1, 1, 1))
    assert [b.count for b in found.bins] == [1, 1, 2]


def test_weights_count_as_so_many_hits() -> None:
    said, right = np.array([0.21, 0.24, 0.7]), flags(1, 0, 1)
    heavy = reliability(said, right, np.array([3.0, 1.0, 2.0]))
    many = reliability(np.repeat(said, [3, 1, 2]), np.repeat(right, [3, 1, 2]))
    assert heavy.error == pytest.approx(many.error)
    assert [(b.said, b.right) for b in heavy.bins] == [
        (pytest.approx(b.said), pytest.approx(b.right)) for b in many.bins
    ]
    assert [b.count for b in heavy.bins] == [2, 1]


def test_a_bin_without_weight_is_left_out() -> None:
    found = reliability(np.array([0.2, 0.8]), flags(0, 0), np.array([1.0, 0.0]))
    assert len(found.bins) == 1 and found.error == pytest.approx(0.2)


def test_nothing_has_no_error() -> None:
    found = reliability(np.empty(0), np.empty(0, bool))
    assert found.bins == () and math.isnan(found.error)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(UsageError, match="as values, 2; received 1 and 2"):
        reliability(np.zeros(2), flags(1))
    with pytest.raises(UsageError, match="received 2 and 3"):
        reliability(np.zeros(2), flags(1, 1), np.ones(3))


# -- asking a gallery ----------------------------------------------------------------------------


def test_the_nearest_that_is_left_is_asked() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    gallery = made(features)
    corners, matches = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    made_up = Calibration(Space(np.zeros(5, np.float32)), 1.0, corners, matches)
    unit = features.astype(np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    for gone in (None, [{i} for i in range(30)], [set(range(30))] * 30):
        found = ask(gallery, made_up, features, gone)
        for i in range(30):
            left = [j for j in range(30) if not gone or j not in gone[i]]
            order = sorted((-float(unit[i] @ unit[j]), j) for j in left)
            if not order:
                assert (found.rows[i], found.scores[i], found.matches[i]) == (-1, -1, 0)
                continue
            assert found.rows[i] == order[0][1]
            assert found.scores[i] == pytest.approx(-order[0][0], abs=1e-5)
            stands = -order[0][0] + order[9][0]
            assert found.matches[i] == pytest.approx(min(max(stands, 0), 1), abs=1e-5)


# -- a report ------------------------------------------------------------------------------------


def test_a_report_on_a_small_gallery(tmp_path: Path) -> None:
    gallery = small(tmp_path / "g", 80)
    calibration = calibrate(gallery, QUERIES)
    assert calibration is not None
    rows = negative_rows(gallery, 0)
    held = HeldOut(gallery.take(rows), [{row} for row in rows.tolist()])
    told: list[int] = []
    found = match_report(gallery, calibration, held, QUERIES, advance=told.append)
    assert (found.images, found.copies, found.without) == (80, sum(told), 80)
    assert found.labelled is None and found.about["queries"]
    for shares in (found.answered, found.others):
        assert tuple(shares) == THRESHOLDS
        values = [share for share, _ in shares.values()]
        assert values == sorted(values, reverse=True)
        assert all(low <= share <= high for share, (low, high) in shares.values())
    assert found.answered[0.5][0] > found.others[0.5][0] + 0.3
    assert found.right[0.5] > 0.8 and found.after.error < found.before.error
    assert list(found.edits.values()) == sorted(found.edits.values(), reverse=True)


def test_files_that_are_gone_are_an_error(tmp_path: Path) -> None:
    gallery = small(tmp_path / "g", 50)
    calibration = calibrate(gallery, QUERIES)
    assert calibration is not None
    for file in gallery.files:
        os.remove(file)
    with pytest.raises(UsageError, match="no picture of the gallery can be read"):
        match_report(gallery, calibration, HeldOut(gallery.take(np.arange(3))), QUERIES)


def test_queries_without_a_copy_and_labels(tmp_path: Path) -> None:
    """Fifty pictures of two classes; query 0 is in the gallery under another name, too."""
    gallery_files = drawn(tmp_path / "g", range(50))
    query_files = drawn(tmp_path / "q", range(100, 104))
    shutil.copy(gallery_files[7], query_files[0])
    Path(query_files[3]).write_bytes(b"no picture")
    labels = ["cat" if i % 2 else "dog" for i in range(50)] + ["cat", "cat", "dog", "dog"]
    truth = from_labels("x", [*gallery_files, *query_files], labels,
                        (range(50, 54), range(50)))  # fmt: skip
    gallery, held = of_truth(truth, GridEmbedder(), IndexSpec())
    assert len(gallery) == 50 and [f.path for f in gallery.failures] == [query_files[3]]
    assert len(held.features) == 3 and held.gone is not None and held.same is not None
    assert [len(rows) for rows in held.gone] == [1, 0, 0]
    (own,) = held.gone[0]
    assert gallery.files[own] == gallery_files[7]
    for query, label in enumerate(["cat", "cat", "dog"]):
        for row in range(50):
            assert held.same(query, row) == (
                labels[gallery_files.index(gallery.files[row])] == label
            )
    assert not held.same(0, -1)
    calibration = calibrate(gallery, QUERIES)
    assert calibration is not None
    found = match_report(gallery, calibration, held, QUERIES)
    assert found.without == 3 and found.labelled is not None
    assert sum(b.count for b in found.labelled.bins) == 3
