"""Removing and exporting."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog
from cbir.errors import UsageError
from cbir.lifecycle import export_csv, export_vectors, info, remove
from cbir.query import Index
from tests.conftest import GridEmbedder
from tests.lifecycle.helpers import faults, ids, nearest, run


@pytest.fixture
def index(tmp_path: Path, photos: Path, grid: GridEmbedder) -> Path:
    run(tmp_path / "index", photos, grid=grid)
    return tmp_path / "index"


def test_remove_by_id_file_and_folder(index: Path, photos: Path, grid: GridEmbedder) -> None:
    known = ids(index)
    done = remove(str(index), [known["b/01.png"], 4711], [str(photos / "a"), "nothing.png"])
    assert done.removed == 7 and done.unknown == ("id:4711", "nothing.png")
    left = ids(index)
    assert sorted(left) == [f"b/{i:02d}.png" for i in (3, 5, 7, 9, 11)]
    assert faults(index) == []
    found = nearest(index, photos / "a" / "00.png", grid, k=20)
    assert len(found) == 5 and "01.png" not in found
    remove(str(index), [], [str(photos / "b" / "03.png")])
    assert len(ids(index)) == 4
    report = run(index, grid=grid)  # the files are still there: they come back, with new ids
    assert report.added == 8 and report.embedded == 8
    assert min(ids(index)[name] for name in ("a/00.png", "b/03.png")) > 12


def test_a_root_is_forgotten(index: Path, photos: Path, grid: GridEmbedder) -> None:
    done = remove(str(index), [], [str(photos)])
    assert done.removed == 12 and done.forgotten == (os.path.realpath(photos),)
    with Catalog(str(index)) as catalog:
        assert catalog.roots() == [] and catalog.count() == 0
    with pytest.raises(UsageError, match="knows no folder"):
        run(index, grid=grid)


def test_a_folder_around_roots_takes_them_all(
    tmp_path: Path, photos: Path, grid: GridEmbedder
) -> None:
    index = tmp_path / "two"
    run(index, photos / "a", photos / "b", grid=grid)
    done = remove(str(index), [], [str(photos)])
    assert done.removed == 12 and len(done.forgotten) == 2 and ids(index) == {}
    with Catalog(str(index)) as catalog:
        assert catalog.db.execute("SELECT count(*) FROM contents").fetchone() == (0,)


def test_exported_paths_belong_to_their_ids(index: Path, tmp_path: Path) -> None:
    db = sqlite3.connect(index / "catalog.sqlite")
    with db:
        db.execute("DELETE FROM features WHERE content = 2")
    db.close()
    shutil.rmtree(index / "ann")
    export_vectors(str(index), str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["ids"].tolist() == [1, *range(3, 13)]
        assert len(arrays["paths"]) == 11 and arrays["paths"][1].endswith("04.png")


def test_a_reader_that_is_open_sees_the_removal(
    index: Path, photos: Path, grid: GridEmbedder
) -> None:
    with Index(str(index), grid) as opened:
        first = opened.query(str(photos / "a" / "00.png")).hits[0]
        remove(str(index), [first.id])
        assert first.id not in [h.id for h in opened.query(str(photos / "a" / "00.png")).hits]


def test_vectors_are_exported_as_plain_arrays(index: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "out.npz")
    assert export_vectors(str(index), file) == (12, 48)
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == list(range(1, 13))
        assert arrays["vectors"].dtype == np.float32
        assert np.allclose(np.linalg.norm(arrays["vectors"], axis=1), 1)
        assert [Path(p).name for p in arrays["paths"][:2]] == ["00.png", "02.png"]
        assert len(str(arrays["fingerprint"])) == 32
    with pytest.raises(UsageError, match="npz"):
        export_vectors(str(index), "out.txt")


def test_the_table_has_metadata(index: Path, photos: Path, grid: GridEmbedder) -> None:
    (photos / "m.csv").write_text("path,label\na/00.png,hat\n")
    run(index, photos, grid=grid, metadata=str(photos / "m.csv"))
    out = io.StringIO(newline="")
    assert export_csv(str(index), out) == 12
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert rows[0]["label"] == "hat" and rows[1]["label"] == ""
    assert rows[0]["width"] == "40" and rows[0]["format"] == "PNG"


def test_info_counts(index: Path, photos: Path) -> None:
    facts = info(str(index))
    assert facts["images"] == 12 and facts["different_pictures"] == 12 and facts["failures"] == 0
    assert facts["roots"][0]["images"] == 12  # type: ignore[index]
    assert facts["feature_dims"] == 48 and int(str(facts["bytes"])) > 10_000
