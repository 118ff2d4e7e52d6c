"""`check` finds every kind of fault, `repair` mends what can be mended."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import CatalogWriter
from cbir.errors import CbirError, OperationFailedError
from cbir.index import FaissIndex, derived_files, read_derived, write_derived
from cbir.lifecycle import check, repair
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import faults, ids, nearest, run


@pytest.fixture
def index(tmp_path: Path, photos: Path, grid: GridEmbedder) -> Path:
    run(tmp_path / "index", photos, grid=grid)
    return tmp_path / "index"


def mend(index: Path, grid: GridEmbedder) -> list[str]:
    """Repair with the tests' own embedder; what was done."""
    return list(repair(str(index), embedder=grid).repaired)


def test_a_sound_index_has_no_faults(index: Path, grid: GridEmbedder) -> None:
    assert faults(index) == [] and mend(index, grid) == []
    assert check(str(index)).images == 12


def test_files_gone_and_changed(index: Path, photos: Path, grid: GridEmbedder) -> None:
    os.remove(photos / "a" / "00.png")
    picture(99).save(photos / "a" / "02.png")
    found = {f.kind: f for f in check(str(index)).faults}
    assert Path(found["file gone"].examples[0]).name == "00.png"
    assert Path(found["file changed"].examples[0]).name == "02.png"
    assert "1 embedded, 1 changed, 0 moved, 1 dropped" in mend(index, grid)[0]
    assert faults(index) == [] and len(ids(index)) == 11


def test_a_folder_that_is_not_there_is_not_repaired_away(
    index: Path, photos: Path, grid: GridEmbedder
) -> None:
    os.rename(photos, photos.parent / "away")
    assert faults(index) == ["folder not there"]
    mend(index, grid)
    assert len(ids(index)) == 12


def alter(index: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(index / "catalog.sqlite")
    with db:
        db.execute(statement, values)
    db.close()


@pytest.mark.parametrize(
    ("statement", "value", "kind"),
    [
        ("DELETE FROM features WHERE content = ?", 3, "feature missing"),
        ("UPDATE features SET feature = x'00' WHERE content = ?", 3, "feature unusable"),
        (
            f"UPDATE features SET feature = x'{np.full(49, np.nan, np.float16).tobytes().hex()}' "
            "WHERE content = ?",
            3,
            "feature unusable",
        ),
    ],
)
def test_features_are_made_again(
    index: Path, grid: GridEmbedder, statement: str, value: int, kind: str
) -> None:
    alter(index, statement, value)
    assert kind in faults(index)
    done = mend(index, grid)
    assert "1 embedded" in done[0] and grid.seen == 13
    assert faults(index) == []


@pytest.mark.parametrize("damage", ["flip", "tear", "remove", "all"])
def test_a_faiss_file_is_made_again(
    index: Path, photos: Path, grid: GridEmbedder, damage: str
) -> None:
    query = photos / "a" / "00.png"
    before = nearest(index, query, grid)
    file = Path(derived_files(str(index))[-1].path)
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data[:50]) if damage == "tear" else bytes(data))
    if damage in ("remove", "all"):
        file.unlink()
    if damage == "all":
        file.parent.rmdir()
    assert nearest(index, query, grid) == before  # readers go on, from the stored features
    assert faults(index)[0] in ("FAISS file corrupt", "FAISS file missing")
    assert "made again" in mend(index, grid)[0]
    assert faults(index) == [] and nearest(index, query, grid) == before


def replace_vectors(index: Path, change: str) -> None:
    """A derived file that is whole, but not true."""
    file = derived_files(str(index))[-1]
    old = read_derived(file)
    image_ids, rows = old.ids(), old.vectors().copy()
    new = FaissIndex(old.dims)
    if change == "not unit":
        rows[2] *= 2
    elif change == "not finite":
        rows[3, 0] = np.nan
    elif change == "twice":
        image_ids[5] = image_ids[4]
    elif change == "foreign":
        image_ids[0] = 4711
    new.add(image_ids, rows)
    os.remove(file.path)
    write_derived(str(index), file.generation, file.seq, new)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("not unit", "FAISS vectors not finite or not unit"),
        ("not finite", "FAISS vectors not finite or not unit"),
        ("twice", "FAISS ids twice"),
        ("foreign", "FAISS ids not those of the catalog"),
    ],
)
def test_vectors_that_are_not_true(index: Path, grid: GridEmbedder, change: str, kind: str) -> None:
    replace_vectors(index, change)
    assert kind in faults(index)
    mend(index, grid)
    assert faults(index) == []


def test_vectors_that_are_not_those_of_the_features(index: Path, grid: GridEmbedder) -> None:
    file = derived_files(str(index))[-1]
    old = read_derived(file)
    new = FaissIndex(old.dims)
    new.add(old.ids(), old.vectors()[::-1].copy())
    os.remove(file.path)
    write_derived(str(index), file.generation, file.seq, new)
    assert faults(index) == ["FAISS vectors not those of the features"]
    mend(index, grid)
    assert faults(index) == []


def test_two_faults_at_once(index: Path, photos: Path, grid: GridEmbedder) -> None:
    alter(index, "UPDATE generations SET projection = ? WHERE state = 'live'", b"garbage")
    picture(99).save(photos / "a" / "02.png")
    mend(index, grid)
    assert faults(index) == []


def test_a_file_where_the_derived_ones_should_be(
    index: Path, photos: Path, grid: GridEmbedder
) -> None:
    before = nearest(index, photos / "a" / "00.png", grid)
    for file in (index / "ann").iterdir():
        file.unlink()
    (index / "ann").rmdir()
    (index / "ann").write_text("in the way")
    assert nearest(index, photos / "a" / "00.png", grid) == before
    with pytest.raises(OperationFailedError):
        mend(index, grid)


def test_damaged_pages_are_errors_of_ours(index: Path, photos: Path, grid: GridEmbedder) -> None:
    file = index / "catalog.sqlite"
    whole = file.read_bytes()
    raised = 0
    for page in range(1, len(whole) // 4096):
        data = bytearray(whole)
        data[page * 4096 : (page + 1) * 4096] = b"\x55" * 4096
        file.write_bytes(bytes(data))
        for use in (lambda: nearest(index, photos / "a" / "00.png", grid),
                    lambda: run(index, photos, grid=grid)):  # fmt: skip
            try:
                use()
            except CbirError:
                raised += 1
    assert raised > 5


def test_a_stale_faiss_file(index: Path, grid: GridEmbedder) -> None:
    file = derived_files(str(index))[-1]
    os.rename(file.path, Path(file.path).with_name("99-1.faiss"))
    assert "FAISS file stale" in faults(index)
    mend(index, grid)
    assert faults(index) == []


def test_a_projection_that_cannot_be_read(index: Path, grid: GridEmbedder) -> None:
    alter(index, "UPDATE generations SET projection = ? WHERE state = 'live'", b"garbage")
    assert faults(index) == ["projection unreadable"]
    assert "projection fitted again" in mend(index, grid)[0]
    assert faults(index) == []


def test_a_damaged_catalog_is_said_and_not_touched(index: Path, grid: GridEmbedder) -> None:
    file = index / "catalog.sqlite"
    data = bytearray(file.read_bytes())
    data[4096 * 3 : 4096 * 12] = b"\x55" * (4096 * 9)
    file.write_bytes(data)
    assert "catalog damaged" in [f.kind for f in check(str(index)).faults]
    assert repair(str(index), embedder=grid).faults[0].repairable is False
    assert file.read_bytes() == bytes(data)


def test_an_unknown_embedder(index: Path) -> None:
    found = [f for f in check(str(index)).faults if f.kind == "fingerprint unknown"]
    assert "test-grid" in found[0].examples[0] and not found[0].repairable
    alter(index, "UPDATE embedders SET spec = replace(spec, 'test-grid', 'resnet50')")
    assert check(str(index)).faults == ()
    (index / "embedder").mkdir()
    (index / "embedder" / "embedder.json").write_text(json.dumps({"fingerprint": "other"}))
    assert [f.kind for f in check(str(index)).faults] == ["fingerprint unknown"]


def test_orphans_are_removed(index: Path, photos: Path, grid: GridEmbedder) -> None:
    os.remove(photos / "a" / "00.png")
    run(index, grid=grid)
    assert faults(index) == []
    assert "1 content" in mend(index, grid)[0]
    with CatalogWriter(str(index)) as catalog:
        assert catalog.db.execute("SELECT count(*) FROM contents").fetchone() == (11,)
