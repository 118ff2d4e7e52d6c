"""The file of embeddings: what is written is read, scores are plain products, damage is noticed."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from cbir.errors import OperationFailedError
from cbir.index import DerivedFileError, LiveIndex, VectorFile, write_vectors
from cbir.index.vectors import VectorWriter
from tests.index.vectors import Truth, index_of, live_of, made

DENSE = np.r_[3:40, 42:120].astype(np.int64)
SPARSE = np.sort(np.random.default_rng(5).choice(10**12, 100, replace=False)).astype(np.int64)


def written(path: Path, ids: np.ndarray, rows: np.ndarray, block: int = 30) -> VectorFile:
    file = str(path / "ann" / "1-2.vectors")
    write_vectors(file, rows.shape[1], (
        (ids[at : at + block], rows[at : at + block]) for at in range(0, len(ids), block)
    ))  # fmt: skip
    return VectorFile(file)


@pytest.mark.parametrize("ids", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_rows_and_scores_are_those_of_a_loop(ids: np.ndarray, tmp_path: Path) -> None:
    rows = made(len(ids))
    file = written(tmp_path, ids, rows)
    assert len(file) == len(ids) and file.dims == rows.shape[1]
    assert np.array_equal(file.ids, ids) and np.array_equal(file.rows, rows)
    assert file.check() and file.sound(ids)
    by_id = dict(zip(ids.tolist(), rows, strict=True))
    asked = np.array([[ids[7], ids[0], -1, ids[-1] + 1], [ids[-1], ids[0] - 1, ids[50], -5]])
    queries = made(2, seed=3)
    scores = file.scores(queries, asked)
    assert scores.dtype == np.float32
    for query, wanted, found in zip(queries, asked, scores, strict=True):
        for image, score in zip(wanted.tolist(), found.tolist(), strict=True):
            if image in by_id:
                assert score == pytest.approx(float(by_id[image] @ query), abs=1e-6)
            else:
                assert np.isnan(score)
    some = file.vectors_of(np.array([ids[0], ids[0] + 10**13, ids[9]]))
    assert np.array_equal(some[[0, 2]], rows[[0, 9]]) and np.isnan(some[1]).all()
    blocks = list(file.blocks())
    assert np.array_equal(np.concatenate([b for b, _ in blocks]), ids)


def test_nothing_in_it(tmp_path: Path) -> None:
    file = written(tmp_path, np.empty(0, np.int64), np.empty((0, 4), np.float32))
    assert len(file) == 0 and file.check() and list(file.blocks()) == []
    assert np.isnan(file.scores(made(1, 4), np.array([[1, 2]]))).all()
    assert np.isnan(file.vectors_of(np.array([1]))).all()


@pytest.mark.parametrize("damage", ["short", "empty", "gone", "ids", "trailer", "longer"])
def test_a_damaged_file_is_not_opened(damage: str, tmp_path: Path) -> None:
    rows = made(len(DENSE))
    path = Path(written(tmp_path, DENSE, rows).path)
    data = bytearray(path.read_bytes())
    if damage == "short":
        data = data[:-100]
    elif damage == "empty":
        data = bytearray()
    elif damage == "ids":
        data[rows.nbytes + 9] ^= 1
    elif damage == "trailer":
        data[-20] ^= 1
    elif damage == "longer":
        data += b"more"
    path.unlink()
    if damage != "gone":
        path.write_bytes(data)
    with pytest.raises(DerivedFileError):
        VectorFile(str(path))


def test_a_flipped_row_is_noticed_when_it_is_used(tmp_path: Path) -> None:
    truth = Truth(np.arange(10, 910, dtype=np.int64), made(900))
    file = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids()))
    query = truth.rows[500][None]
    live = LiveIndex(index_of("hnsw", truth), 0, truth.vectors_of, file=file)
    wanted = live.search(query, 5)
    assert wanted[1][0, 0] == 500 and live.trouble == ""
    with open(file.path, "r+b") as opened:
        opened.seek((500 - 10) * 4 * truth.dims + 3)
        opened.write(b"\x42")  # the first number of its row becomes a large one
    damaged = VectorFile(file.path)
    assert not damaged.check() and not damaged.sound(np.array([500]))
    assert damaged.sound(np.array([-1, 499, 501]))
    live = LiveIndex(index_of("hnsw", truth), 0, truth.vectors_of, file=damaged)
    scores, ids = live.search(query, 5)
    assert np.array_equal(ids, wanted[1]) and np.allclose(scores, wanted[0], atol=1e-6)
    assert "is damaged" in live.trouble and live.file is None


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "pq"])
def test_a_search_with_the_file_is_one_without(kind: str, tmp_path: Path) -> None:
    truth = Truth(np.arange(0, 2400, 2, dtype=np.int64), made(1200))
    file = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids()))
    plain = live_of(kind, truth)
    queries = made(30, seed=9)
    excluded, few = truth.ids()[::5], truth.ids()[::20]
    asked = ({}, {"excluded": excluded}, {"allowed": few}, {"allowed": truth.ids()[:900]})
    without = [plain.search(queries, 10, **one) for one in asked]
    truth.read = 0
    live = LiveIndex(plain.base, 0, truth.vectors_of, file=file)
    for one, (scores, ids) in zip(asked, without, strict=True):
        found = live.search(queries, 10, **one)
        assert np.array_equal(found[1], ids) and np.allclose(found[0], scores, atol=1e-6)
    assert truth.read == 0  # nothing was made from what is stored


def test_blocks_have_what_changed(tmp_path: Path) -> None:
    """Removed, changed, new ids, between the old ones and after them."""
    truth = Truth(np.arange(0, 12_000, 2, dtype=np.int64), made(6000, 6))
    file = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids()), 1000)
    live = LiveIndex(index_of("ivf", truth), 0, truth.vectors_of, file=file)
    new = np.array([1, 8200, 8191, 12_001, 12_100, 4], np.int64)
    rows = made(6, 6, seed=1)
    live.update(np.array([0, 8192, 11_998], np.int64), new, rows, 1)
    for gone in (0, 8192, 11_998):
        del truth.rows[gone]
    truth.rows.update(zip(new.tolist(), rows, strict=True))
    blocks = live.blocks()
    assert blocks is not None
    parts = list(blocks)
    assert np.array_equal(np.concatenate([ids for ids, _ in parts]), truth.ids())
    assert np.array_equal(np.concatenate([r for _, r in parts]), truth.vectors_of(truth.ids()))
    assert live_of("ivf", truth).blocks() is None


def test_a_whole_block_may_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbir.index.vectors._BLOCK", 100)
    truth = Truth(np.arange(1, 601, dtype=np.int64), made(600))
    file = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids()))
    live = LiveIndex(index_of("ivf", truth), 0, truth.vectors_of, file=file)
    live.update(np.arange(101, 301), np.empty(0, np.int64), np.empty((0, truth.dims), "f4"), 1)
    other = str(tmp_path / "2-3.vectors")
    write_vectors(other, truth.dims, live.blocks() or ())
    assert np.array_equal(VectorFile(other).ids, np.r_[1:101, 301:601])
    write_vectors(other, 4, [(np.empty(0, np.int64), np.empty((0, 4), np.float32))])
    assert len(VectorFile(other)) == 0


def test_damage_is_not_copied(tmp_path: Path) -> None:
    truth = Truth(np.arange(1, 601, dtype=np.int64), made(600))
    path = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids())).path
    rows = np.memmap(path, "<f4", "r+", 0, (600, truth.dims))
    rows[5] = rows[6]  # of the right length, and wrong
    rows.flush()
    file = VectorFile(path)
    assert file.sound(np.array([6])) and not file.check()
    live = LiveIndex(index_of("ivf", truth), 0, truth.vectors_of, file=file)
    with pytest.raises(DerivedFileError):
        write_vectors(str(tmp_path / "2-3.vectors"), truth.dims, live.blocks() or ())
    assert [p.name for p in tmp_path.iterdir()] == ["ann"]


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_damage_is_noticed_by_every_way_of_searching(value: float, tmp_path: Path) -> None:
    truth = Truth(np.arange(1, 901, dtype=np.int64), made(900))
    path = written(tmp_path, truth.ids(), truth.vectors_of(truth.ids())).path
    rows = np.memmap(path, "<f4", "r+", 0, (900, truth.dims))
    rows[499, 3] = value
    rows.flush()
    query, base = truth.rows[500][None], index_of("hnsw", truth)
    for asked in ({}, {"allowed": np.r_[480:520]}):
        live = LiveIndex(base, 0, truth.vectors_of, file=VectorFile(path))
        scores, ids = live.search(query, 5, **asked)
        assert ids[0, 0] == 500 and scores[0, 0] == pytest.approx(1, abs=1e-6)
        assert "is damaged" in live.trouble and live.file is None
    live = LiveIndex(base, 0, truth.vectors_of, file=VectorFile(path))
    assert np.isfinite(live.merged().vectors()).all() and "is damaged" in live.trouble


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "ann" / "1-2.vectors"
    writer = VectorWriter(str(path), 4)
    writer.append(np.array([1], np.int64), made(1, 4))
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OperationFailedError, match="No space left"):
        writer.finish()
    assert list(path.parent.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailedError, match="Cannot write"):
        VectorWriter(str(tmp_path / "file" / "1-2.vectors"), 4)


def test_what_interrupts_the_blocks_leaves_nothing(tmp_path: Path) -> None:
    def blocks():  # type: ignore[no-untyped-def]
        yield np.array([1], np.int64), made(1, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(str(tmp_path / "1-2.vectors"), 4, blocks())
    assert list(tmp_path.iterdir()) == []
