"""Measurements of embedders: what is kept, under which key, and which are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cbir.catalog import FeatureCache
from cbir.config import IndexSpec
from cbir.errors import UsageError
from cbir.evaluate.ground_truth import from_folders
from cbir.evaluate.measured import (
    Measurement,
    latest,
    measure_embedder,
    measurements,
    this_machine,
    yardstick,
)
from cbir.evaluate.protocol import summarise
from cbir.evaluate.run import measure
from tests.conftest import GridEmbedder, picture


def test_it_is_measured_and_kept(photos: Path, tmp_path: Path) -> None:
    stick = yardstick(from_folders(str(photos)))
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        assert measurements(cache) == []
        made = measure_embedder(stick, GridEmbedder(), cache)
        assert measurements(cache) == [made] == latest(measurements(cache), this_machine()[0])
        wanted = summarise(measure(stick.truth, GridEmbedder(), IndexSpec()).answers)
        assert made.metrics["mAP"] == pytest.approx(wanted.metrics["mAP"], abs=1e-6)
        assert made.intervals["recall@1"] == pytest.approx(wanted.intervals["recall@1"], abs=1e-6)
        assert (made.queries, made.gallery) == (12, 12) and made.images_per_second > 0
        again = measure_embedder(stick, GridEmbedder(), cache)  # replaces it
        other = measure_embedder(stick, GridEmbedder(salt="other"), cache)
        assert {m.fingerprint for m in measurements(cache)} == {
            again.fingerprint, other.fingerprint
        }  # fmt: skip
        cache.put_measured(("x", "y", "z"), '{"of": "another version"}')
        assert len(measurements(cache)) == 2


def test_the_key_is_of_what_is_asked(photos: Path, tmp_path: Path) -> None:
    key = yardstick(from_folders(str(photos))).key
    photos.rename(tmp_path / "moved")
    assert yardstick(from_folders(str(tmp_path / "moved"))).key == key
    picture(77).save(tmp_path / "moved" / "a" / "00.png")
    assert yardstick(from_folders(str(tmp_path / "moved"))).key != key


def test_only_what_can_be_compared_is_shown() -> None:
    one = Measurement("f", "{}", "data", "p", "here", "cpu", 1, 1, 1.0, {}, {}, "2026-01-02")
    others = [replace(one, machine="there", at="2026-03-01"), replace(one, fingerprint="g"),
              replace(one, data="older", at="2026-01-01")]  # fmt: skip
    assert latest([others[0], one, others[1], others[2]], "here") == [one, others[1]]
    assert latest([], "here") == []


def test_nothing_to_find(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / "p" / str(i)).mkdir(parents=True)
        picture(i).save(tmp_path / "p" / str(i) / "x.png")
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        with pytest.raises(UsageError, match="something to find"):
            measure_embedder(yardstick(from_folders(str(tmp_path / "p"))), GridEmbedder(), cache)
        assert measurements(cache) == []
