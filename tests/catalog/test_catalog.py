"""The catalog: one transaction for rows and features, seq, readers, read-only places."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog, CatalogWriter, NewContent, NewFile, create_catalog
from cbir.errors import (
    IndexDamagedError,
    IndexIncompatibleError,
    IndexMissingError,
    OperationFailedError,
)
from cbir.types import Failure, ImageRef


def content(n: int, dims: int = 4) -> NewContent:
    return NewContent(bytes([n]) * 16, 10 + n, 20, "PNG", np.full(dims, n + 0.5, np.float32))


def ref(path: str, root: str = "/photos") -> ImageRef:
    return ImageRef(root, path, 100, 7)


@pytest.fixture
def index(tmp_path: Path) -> str:
    create_catalog(str(tmp_path / "index"))
    return str(tmp_path / "index")


@pytest.fixture
def writer(index: str) -> Iterator[CatalogWriter]:
    with CatalogWriter(index) as catalog:
        yield catalog


def fill(writer: CatalogWriter, n: int = 3) -> tuple[int, int]:
    """A root with n files; ids 1..n. Returns the ids of root and embedder."""
    with writer.writing() as seq:
        root = writer.add_root("/photos", {"exclude": ["x"]})
        embedder = writer.add_embedder("f" * 32, "{}", 4)
        writer.set("embedder", "f" * 32)
        writer.put_contents(embedder, [content(i) for i in range(n)])
        writer.put_files(seq, [NewFile(root, ref(f"{i}.png"), bytes([i]) * 16) for i in range(n)])
    return root, embedder


def test_no_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(IndexMissingError, match="cbir index FOLDER -i"):
        Catalog(str(tmp_path / "nothing"))


def test_rows_and_features_come_back(writer: CatalogWriter) -> None:
    root, _ = fill(writer)
    assert [r.path for r in writer.roots()] == ["/photos"]
    assert writer.roots()[0].scanning == {"exclude": ["x"]}
    rows = list(writer.rows())
    assert [r.id for r in rows] == [1, 2, 3]
    assert rows[1].file == os.path.join("/photos", "1.png")
    assert (rows[1].width, rows[1].height, rows[1].format) == (11, 20, "PNG")
    embedder = writer.embedder()
    assert embedder is not None and embedder.feature_dims == 4
    blocks = list(writer.features(embedder))
    assert np.array_equal(blocks[0][0], [1, 2, 3])
    assert np.array_equal(blocks[0][1], np.repeat([[0.5], [1.5], [2.5]], 4, axis=1))
    assert [b[0].tolist() for b in writer.features(embedder, [3, 1, 99])] == [[1, 3]]
    assert writer.id_of(root, "2.png") == 3 and writer.id_of(root, "9.png") is None


def test_a_failed_transaction_leaves_nothing(writer: CatalogWriter) -> None:
    fill(writer)
    before = writer.seq
    with pytest.raises(RuntimeError), writer.writing() as seq:
        writer.remove_files(seq, [1, 2])
        raise RuntimeError
    assert writer.count() == 3 and writer.seq == before


def test_seq_tells_what_changed(writer: CatalogWriter) -> None:
    root, _ = fill(writer)
    first = writer.seq
    with writer.writing() as seq:
        writer.remove_files(seq, [2])
        writer.put_files(seq, [NewFile(root, ref("new name.png"), bytes([0]) * 16, id=1)])
    assert writer.ids(above=first).tolist() == [1]
    assert writer.removed(first).tolist() == [2]
    assert writer.removed(writer.seq).tolist() == []
    assert next(writer.rows([1])).path == "new name.png"


def test_ids_are_never_used_again(writer: CatalogWriter) -> None:
    root, _ = fill(writer)
    with writer.writing() as seq:
        writer.remove_files(seq, [3])
        writer.put_files(seq, [NewFile(root, ref("later.png"), bytes([2]) * 16)])
    assert writer.id_of(root, "later.png") == 4


def test_names_that_are_not_utf8_are_kept(writer: CatalogWriter) -> None:
    name = os.fsdecode(b"caf\xe9/\xff.jpg")
    root, _ = fill(writer)
    with writer.writing() as seq:
        writer.put_files(seq, [NewFile(root, ref(name), bytes([0]) * 16)])
    assert next(writer.rows([4])).path == name
    assert os.fsencode(next(writer.rows([4])).file) == b"/photos/caf\xe9/\xff.jpg"


def test_a_root_around_another_takes_its_files_in(writer: CatalogWriter) -> None:
    inner, _ = fill(writer)
    with writer.writing():
        writer.put_failure(inner, ref("bad.png"), Failure("x", "why"))
        outer = writer.add_root("/", {})
        writer.adopt_root(inner, outer, "photos")
    assert [r.path for r in writer.roots()] == ["/"]
    assert writer.id_of(outer, "photos/1.png") == 2
    assert [f.path for f in writer.failures()] == ["/photos/bad.png"]


def test_failures_are_listed_and_forgotten(writer: CatalogWriter) -> None:
    root, _ = fill(writer)
    with writer.writing():
        writer.put_failure(root, ref("bad.png"), Failure("/photos/bad.png", "truncated"))
    assert writer.failures() == [Failure(os.path.join("/photos", "bad.png"), "truncated")]
    assert writer.failed(root) == {"bad.png": (100, 7)}
    with writer.writing() as seq:
        writer.put_files(seq, [NewFile(root, ref("bad.png"), bytes([0]) * 16)])
    assert writer.failures() == []


def test_metadata_is_replaced_whole(writer: CatalogWriter) -> None:
    fill(writer)
    with writer.writing():
        writer.put_metadata({1: {"label": "hat", "colour": "red"}, 2: {"label": "shoe"}})
        writer.put_metadata({1: {"label": "cap"}})
    assert writer.metadata([1, 2, 3]) == {1: {"label": "cap"}, 2: {"label": "shoe"}}
    assert writer.column("label") == {1: "cap", 2: "shoe"} and writer.columns() == ["label"]
    assert dict(writer.db.execute("SELECT file, label FROM labels")) == {1: "cap", 2: "shoe"}


def test_orphans_go_and_others_stay(writer: CatalogWriter) -> None:
    _, embedder = fill(writer)
    with writer.writing() as seq:
        writer.remove_files(seq, [1])
    with writer.writing():
        assert writer.drop_orphans() == 1
    assert not writer.has_feature(bytes([0]) * 16, embedder)
    assert writer.has_feature(bytes([1]) * 16, embedder)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_feature_that_is_not_finite_is_refused(writer: CatalogWriter, value: float) -> None:
    _, embedder = fill(writer)
    bad = NewContent(b"x" * 16, 1, 1, "PNG", np.array([0, value, 0, 0], np.float32))
    with pytest.raises(OperationFailedError, match="not finite"), writer.writing():
        writer.put_contents(embedder, [bad])
    assert not writer.has_feature(b"x" * 16, embedder)


def test_a_reader_sees_one_state_while_a_writer_goes_on(writer: CatalogWriter, index: str) -> None:
    root, _ = fill(writer)
    with Catalog(index) as reader, reader.reading():
        assert reader.count() == 3
        with writer.writing() as seq:
            writer.remove_files(seq, [1])
        assert reader.count() == 3
    with Catalog(index) as reader:
        assert reader.count() == 2


def test_generations_are_swapped_and_old_ones_kept(writer: CatalogWriter) -> None:
    _, embedder = fill(writer)
    made = []
    for _ in range(5):
        with writer.writing():
            made.append(writer.begin_generation(embedder, "{}", None, 0))
        with writer.writing():
            writer.make_live(made[-1])
    live = writer.generation()
    assert live is not None and live.id == made[-1]
    states = writer.db.execute("SELECT id, state FROM generations ORDER BY id").fetchall()
    assert states == [(made[2], "old"), (made[3], "old"), (made[4], "live")]


def test_a_newer_format_is_refused(index: str) -> None:
    with sqlite3.connect(os.path.join(index, "catalog.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(IndexIncompatibleError, match="Update cbir"):
        Catalog(index)


@pytest.mark.parametrize("data", [b"", b"not a database at all" * 300])
def test_something_else_is_no_catalog(index: str, data: bytes) -> None:
    Path(index, "catalog.sqlite").write_bytes(data)
    with pytest.raises(IndexDamagedError, match="cbir index FOLDER"):
        Catalog(index)


@pytest.fixture
def frozen(index: str) -> Iterator[str]:
    """A copy of the index where the user (root or not) may not write."""
    folder = tempfile.mkdtemp(prefix="cbir-read-only-")
    os.chmod(folder, 0o755)
    copy = os.path.join(folder, "index")
    yield copy
    os.chmod(copy, 0o755)
    shutil.rmtree(folder)


def freeze(source: str, copy: str) -> None:
    shutil.copytree(source, copy)
    for name in os.listdir(copy):
        os.chmod(os.path.join(copy, name), 0o444)
    os.chmod(copy, 0o555)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
@pytest.mark.parametrize("left_log", [False, True])
def test_a_place_that_cannot_be_written_opens(index: str, frozen: str, left_log: bool) -> None:
    with CatalogWriter(index) as writer:
        fill(writer)
        if left_log:  # as after a kill: the write-ahead log still holds the rows
            freeze(index, frozen)
            assert os.path.getsize(os.path.join(frozen, "catalog.sqlite-wal")) > 0
    if not left_log:
        freeze(index, frozen)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with Catalog(frozen) as catalog:
            assert catalog.count() == 3
    finally:
        if root:
            os.seteuid(0)
