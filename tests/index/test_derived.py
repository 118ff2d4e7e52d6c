"""Derived files: written beside, verified, pruned. And the writer's lock."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from cbir.errors import IndexLockedError, OperationFailedError
from cbir.index import (
    DerivedFile,
    DerivedFileError,
    FaissIndex,
    derived_files,
    prune_derived,
    read_derived,
    write_derived,
    writer_lock,
)
from tests.index.vectors import Truth, index_of, made


@pytest.fixture
def store() -> FaissIndex:
    made = FaissIndex(4)
    made.add(np.arange(5, dtype=np.int64), np.eye(5, 4, dtype=np.float32))
    return made


def test_files_are_found_newest_last(tmp_path: Path, store: FaissIndex) -> None:
    for generation, seq in ((2, 5), (1, 30), (2, 12)):
        write_derived(str(tmp_path), generation, seq, store)
    (tmp_path / "ann" / "notes.txt").write_text("x")
    found = derived_files(str(tmp_path))
    assert [(f.generation, f.seq) for f in found] == [(1, 30), (2, 5), (2, 12)]
    assert read_derived(found[-1]).ids().tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "ann" / "3-1.faiss.new").write_bytes(b"left by a kill")
    gone = prune_derived(str(tmp_path), found[-1])
    assert gone == ["1-30.faiss", "2-5.faiss", "3-1.faiss.new"]
    assert sorted(os.listdir(tmp_path / "ann")) == ["2-12.faiss", "notes.txt"]


def test_faiss_itself_can_read_the_file(tmp_path: Path, store: FaissIndex) -> None:
    file = write_derived(str(tmp_path), 1, 1, store)
    assert faiss.read_index(file.path).ntotal == 5


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "pq"])
def test_beyond_the_memory_lists_stay_on_the_disk(tmp_path: Path, kind: str) -> None:
    truth = Truth(np.arange(5000, dtype=np.int64), made(5000))
    index = index_of(kind, truth)
    file = write_derived(str(tmp_path), 1, 1, index)
    queries = made(20, seed=4)
    wanted = index.search(queries, 10)
    for memory in (None, 1 << 30, 1000):
        found = read_derived(file, memory)
        assert found.on_disk == (memory == 1000 and kind in ("ivf", "pq"))
        scores, ids = found.search(queries, 10)
        assert np.array_equal(ids, wanted[1]) and np.array_equal(scores, wanted[0])
        assert found.effort == index.effort and np.array_equal(found.ids(), index.ids())


def test_a_name_that_faiss_cannot_open_is_read_into_memory(tmp_path: Path) -> None:
    truth = Truth(np.arange(500, dtype=np.int64), made(500))
    odd = os.path.join(str(tmp_path), os.fsdecode(b"caf\xe9"))
    file = write_derived(odd, 1, 1, index_of("ivf", truth))
    found = read_derived(file, 1000)
    assert not found.on_disk and len(found) == 500


def test_what_a_write_raises_comes_out(store: FaissIndex) -> None:
    def refuse(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.write(refuse)
    with pytest.raises(OSError, match="No space left"):
        FaissIndex.read(refuse)  # type: ignore[arg-type]
    parts: list[bytes] = []
    store.write(parts.append)
    assert b"".join(parts) == bytes(store.to_bytes())
    with pytest.raises(ValueError):
        FaissIndex.read(lambda size: b"\0" * size)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "other", "gone"])
def test_a_damaged_file_is_noticed(tmp_path: Path, store: FaissIndex, damage: str) -> None:
    file = write_derived(str(tmp_path), 1, 1, store)
    data = bytearray(Path(file.path).read_bytes())
    if damage == "torn":
        del data[40:]
    elif damage == "flipped":
        data[60] ^= 1
    elif damage == "empty":
        data.clear()
    elif damage == "other":
        data = bytearray(b"\0" * 500)
    Path(file.path).write_bytes(data)
    if damage == "gone":
        os.remove(file.path)
    with pytest.raises(DerivedFileError):
        read_derived(file)


def test_no_folder_means_no_files(tmp_path: Path) -> None:
    assert derived_files(str(tmp_path)) == [] and prune_derived(str(tmp_path)) == []
    with pytest.raises(DerivedFileError):
        read_derived(DerivedFile(1, 1, str(tmp_path / "ann" / "1-1.faiss")))


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, store: FaissIndex) -> None:
    (tmp_path / "ann").write_text("a file in the way")
    with pytest.raises(OperationFailedError, match="run the command again"):
        write_derived(str(tmp_path), 1, 1, store)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys; from cbir.index import writer_lock\n"
        "with writer_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(IndexLockedError, match=f"process {holder.pid} "):
            with writer_lock(str(tmp_path)):
                pass
    finally:
        holder.kill()  # the operating system frees the lock
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    with writer_lock(str(tmp_path)):
        pass


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailedError, match="cannot be written"):
        with writer_lock(str(tmp_path / "file")):
            pass
