"""Galleries of an index and of files: contents once, and the same rows by both ways."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cbir.config import IndexSpec
from cbir.errors import UsageError
from cbir.evaluate import gallery as rooms
from cbir.evaluate.gallery import of_features, of_files, of_index
from cbir.query import Index
from tests.conftest import GridEmbedder
from tests.evaluate.galleries import drawn
from tests.lifecycle.helpers import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures, one of them three times, and a file that is none."""
    drawn(tmp_path / "photos", range(10))
    for i in range(2):
        shutil.copy(tmp_path / "photos/0004.png", tmp_path / f"photos/copy{i}.png")
    (tmp_path / "photos/bad.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_an_index_and_its_files_are_one_gallery(photos: Path, tmp_path: Path) -> None:
    grid = GridEmbedder()
    run(tmp_path / "index", photos, grid=grid)
    files = sorted(str(file) for file in photos.iterdir())
    direct = of_files("files", files, grid, IndexSpec())
    assert [f.path for f in direct.failures] == [str(photos / "bad.png")]
    with Index(str(tmp_path / "index"), grid) as index:
        stored = of_index(index)
        assert len(stored) == len(direct) == 10
        assert stored.keys == direct.keys == tuple(sorted(stored.keys))
        rows = np.array([3, 0, 3])
        assert np.allclose(stored.take(rows), direct.take(rows), atol=1e-3)
        asked = direct.take(np.arange(10))
        found, scores = stored.search(asked, 12)
        plain, plain_scores = direct.search(asked, 12)
        assert found.shape == (10, 12) and plain.shape == (10, 10)
        for row, (mine, other) in enumerate(zip(found.tolist(), plain.tolist(), strict=True)):
            assert list(dict.fromkeys(mine)) == other and mine[0] == row
        assert sorted(found[0].tolist()).count(stored.keys.index(content(stored, "0004.png"))) == 3
        assert np.all(np.diff(scores) <= 0) and np.all(np.diff(plain_scores) <= 0)


def content(gallery: rooms.Gallery, name: str) -> bytes:
    named = [f for f in gallery.files if os.path.basename(f) in {name, "copy0.png", "copy1.png"}]
    return gallery.keys[gallery.files.index(named[0])]


def test_features_of_a_large_index_are_read_when_asked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = GridEmbedder()
    run(tmp_path / "index", photos, grid=grid)
    with Index(str(tmp_path / "index"), grid) as index:
        rows = np.array([7, 1, 1])
        whole = of_index(index).take(rows)
        monkeypatch.setattr(rooms, "_IN_MEMORY", 3)
        assert np.array_equal(of_index(index).take(rows), whole)


def test_search_is_exact_over_blocks() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 5)).astype(np.float32)
    keys = [str(i).encode() for i in range(150)]
    gallery = of_features("x", keys, [""] * 150, GridEmbedder(), features, IndexSpec())
    found, scores = gallery.search(features, 4)
    unit = features.astype(np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    for i in range(150):
        order = sorted(range(150), key=lambda j: -float(unit[i] @ unit[j]))[:4]
        assert found[i].tolist() == order
        assert np.allclose(scores[i], unit[i] @ unit[order].T, atol=1e-5)
    assert gallery.search(features[:0], 3)[0].shape == (0, 0)
    assert gallery.search(features[:2], 500)[0].shape == (2, 150)


def test_an_empty_index_is_no_gallery(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    run(tmp_path / "index", tmp_path / "photos", grid=GridEmbedder())
    with Index(str(tmp_path / "index"), GridEmbedder()) as index:
        with pytest.raises(UsageError, match="holds no images"):
            of_index(index)
