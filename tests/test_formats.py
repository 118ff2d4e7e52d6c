"""Every format that was ever written can be read: samples below tests/data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cbir import Embedder, Index
from cbir.catalog import FORMAT_VERSION, Catalog
from cbir.embed.package import VERSION
from cbir.evaluate.answers import FORMAT as ANSWERS_FORMAT
from cbir.evaluate.answers import Answers
from cbir.evaluate.protocol import summarise
from cbir.evaluate.self_answers import FORMAT as SELF_FORMAT
from cbir.evaluate.self_answers import SelfAnswers, profile
from cbir.lifecycle import check
from cbir.query.match import VERSION as MATCH
from cbir.query.match import Calibration, whiten
from tests.conftest import GridEmbedder, picture

DATA = Path(__file__).parent / "data"
INDEXES = sorted(DATA.glob("index-v*"))
EMBEDDERS = sorted(DATA.glob("embedder-v*"))
ANSWERS = sorted(DATA.glob("answers-v*.json"))
CALIBRATIONS = sorted(DATA.glob("calibration-v*.npz"))
SELF_QUERIES = sorted(DATA.glob("self-queries-v*.json"))


def test_there_is_a_sample_of_each_version() -> None:
    assert [p.name for p in INDEXES] == [f"index-v{v}" for v in range(1, FORMAT_VERSION + 1)]
    assert [p.name for p in EMBEDDERS] == [f"embedder-v{v}" for v in range(1, VERSION + 1)]
    assert [p.stem for p in ANSWERS] == [f"answers-v{v}" for v in range(1, ANSWERS_FORMAT + 1)]
    assert [p.stem for p in CALIBRATIONS] == [f"calibration-v{v}" for v in range(1, MATCH + 1)]
    assert [p.stem for p in SELF_QUERIES] == [
        f"self-queries-v{v}" for v in range(1, SELF_FORMAT + 1)
    ]


@pytest.mark.parametrize("sample", INDEXES, ids=lambda p: p.name)
def test_an_index_is_read(sample: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(sample, copy)
    with Catalog(str(copy)) as catalog:
        assert [row.file for row in catalog.rows()] == [f"/photos/{i}.png" for i in range(3)]
        assert catalog.column("label") == {1: "hat"}
        assert [f.reason for f in catalog.failures()] == ["empty file"]
    with Index(str(copy), GridEmbedder()) as index:
        by_id = index.query(2, k=5)
        by_picture = index.query(np.asarray(picture(1)), k=5)
        assert [h.id for h in by_picture.hits][0] == 2 and by_picture.hits[0].score > 0.999
        assert len(by_id.hits) == 2 and index.notes == []
    kinds = {fault.kind for fault in check(str(copy)).faults}
    assert kinds == {"folder not there", "fingerprint unknown"}


@pytest.mark.parametrize("sample", EMBEDDERS, ids=lambda p: p.name)
def test_an_embedder_is_read(sample: Path) -> None:
    made = Embedder.load(sample)
    card = json.loads((sample / "embedder.json").read_text(encoding="utf-8"))
    assert made.fingerprint == card["fingerprint"] and made.feature_dims == 32
    assert made.features(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 32)


@pytest.mark.parametrize("sample", CALIBRATIONS, ids=lambda p: p.stem)
def test_a_calibration_is_read(sample: Path) -> None:
    made = Calibration.from_bytes(sample.read_bytes())
    assert (made.cap, made.images, made.about) == (0.25, 60, {"queries": 150})
    assert np.allclose(made.match(np.array([-1, -0.25, 0.25, 1])), [0.01, 0.13, 0.575, 0.9])
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    assert np.allclose(made.space.apply(features), whiten(features).apply(features), atol=2e-3)


@pytest.mark.parametrize("sample", ANSWERS, ids=lambda p: p.stem)
def test_stored_answers_are_read(sample: Path) -> None:
    """Every version was made from the same vectors, and is scored alike."""
    made = Answers.from_json(sample.read_text(encoding="utf-8"))
    found = summarise(made)
    assert (found.queries, found.gallery) == (4, 8)
    assert found.metrics["recall@1"] == 0
    ranks = ([2, 6], [2, 4, 7], [5, 7, 8], [5, 6])
    each = [sum(i / r for i, r in enumerate(row, start=1)) / len(row) for row in ranks]
    assert found.metrics["mAP"] == pytest.approx(sum(each) / 4, abs=1e-12)
    known = made.pictures is not None
    assert known == (sample.stem != "answers-v1") == bool(sum(made.irrelevant))
    if made.pictures:
        assert made.pictures.path(0) == "/photos/0.png" and made.pictures.label(4) == "class 1"


@pytest.mark.parametrize("sample", SELF_QUERIES, ids=lambda p: p.stem)
def test_kept_self_queries_are_read(sample: Path) -> None:
    made = SelfAnswers.from_json(sample.read_text(encoding="utf-8"))
    found = profile(made)
    assert (found.sources, made.images, len(made.attempts)) == (2, 6, 4)
    assert {a.name: a.recall[1] for a in found.attacks} == {"crop-60": 0.5, "flip": 0}
    assert {a.rank for a in made.attempts} == {1, 2, 3, 4} and made.about["decoded"] == 224
    assert made.pictures.path(made.attempts[0].source).startswith("/photos/")
    assert found.every.floor == 1 and found.every.source_score == pytest.approx(0.9030285)
