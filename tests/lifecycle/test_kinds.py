"""An index of each kind through its whole life: made, asked, changed, checked, mended, changed in
kind."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog
from cbir.config import IndexSpec
from cbir.errors import OperationFailedError
from cbir.index import KINDS, derived_files, read_derived, write_derived
from cbir.lifecycle import info, refresh
from cbir.lifecycle.edit import export_vectors
from cbir.query import Index, load_state
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import run
from tests.lifecycle.test_check import faults, mend
from tests.lifecycle.test_generations import DIMS, Gallery, clustered

APPROXIMATE = [name for name, kind in KINDS.items() if not kind.exact]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds can be had for a dozen images, and even so few are searched by them."""
    monkeypatch.setattr("cbir.index.planner.LEAST", 10)
    monkeypatch.setattr("cbir.index.live.FEW", 3)


def of_kind(kind: str, path: Path, n: int = 1500) -> Gallery:
    gallery = Gallery(path)
    with gallery.writer.writing():
        spec = IndexSpec(dims=12, kind=kind, recall=0.95)  # type: ignore[arg-type]
        gallery.writer.set("index_spec", spec.to_dict())
    gallery.add(clustered(n, 0), 0)
    return gallery


def check_answers(gallery: Gallery, share: float = 0.9) -> None:
    """What is found is, mostly, what a plain loop finds, with its scores."""
    state = gallery.state()
    ids = state.stored.ids()
    vectors = state.stored.vectors_of(ids)
    found_right = []
    for query in state.projection.apply(clustered(40, 0)[20:40] + 0.01):
        exact = vectors @ query
        scores, found = state.live.search(query[None], 10)
        assert np.allclose(scores[0], exact[np.searchsorted(ids, found[0])], atol=1e-6)
        found_right += np.isin(ids[np.argsort(-exact)[:10]], found[0]).tolist()
    assert np.mean(found_right) >= share


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_indexed_asked_and_changed(
    kind: str, tmp_path: Path, photos: Path, grid: GridEmbedder
) -> None:
    index, spec = tmp_path / "index", IndexSpec(kind=kind)  # type: ignore[arg-type]
    done = run(index, photos, grid=grid, spec=spec).derived
    assert done is not None and done.made is not None and done.made.kind == kind
    assert done.made.images == 12 and done.made.bytes_per_vector > 0
    with Index(str(index), grid) as opened:
        ranking = opened.query(str(photos / "a" / "00.png"), k=5)
        assert len(ranking.hits) == 5 and ranking.hits[0].score <= 1
        everything = opened.query(str(photos / "a" / "00.png"), k=50)
        assert len(everything.hits) == 11  # all but itself
    picture(60).save(photos / "new.png")
    (photos / "a" / "02.png").unlink()
    assert run(index, grid=grid).added == 1
    with Index(str(index), grid) as opened:
        hit = opened.query(np.asarray(picture(60)), k=1).hits[0]
        assert hit.score > 0.999 and hit.path.endswith("new.png")
    assert faults(index) == []
    assert export_vectors(str(index), str(tmp_path / "v.npz")) == (12, 48)
    with np.load(tmp_path / "v.npz") as arrays:
        assert np.allclose(np.linalg.norm(arrays["vectors"], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_figures(kind: str, tmp_path: Path) -> None:
    gallery = of_kind(kind, tmp_path / "index")
    done = refresh(gallery.writer)
    assert done.made is not None and done.made.kind == kind and done.made.recall >= 0.95
    check_answers(gallery)
    facts = info(gallery.writer.index)
    assert facts["search"] == gallery.writer.made(done.generation)
    gallery.writer.close()


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_changes_are_taken_in_and_too_many_build_again(kind: str, tmp_path: Path) -> None:
    gallery = of_kind(kind, tmp_path / "index")
    first = refresh(gallery.writer)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(1, 101))
    gallery.add(clustered(100, 3), 3)
    second = refresh(gallery.writer)
    assert second.written and not second.new and first.made is not None
    assert second.made == replace(first.made, bytes_per_vector=second.made.bytes_per_vector)  # type: ignore[union-attr]
    state = gallery.state()
    assert state.live.pending == 0 and len(state.live) == 1500
    assert state.live.base.dead == (100 if kind == "hnsw" else 0)
    check_answers(gallery)
    assert not [kind for kind in faults(tmp_path / "index") if kind.startswith("FAISS")]
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(101, 351))  # 350 of 1,600 rows are dead by then
    third = refresh(gallery.writer)
    assert third.written and third.made is not None and third.made.kind == kind
    assert gallery.state().live.base.dead == 0
    assert third.made.images == (1250 if kind == "hnsw" else 1500)
    check_answers(gallery)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(351, 1001))
    fourth = refresh(gallery.writer)  # 600 images: too few for this kind
    assert fourth.made is not None and fourth.made.kind == "flat"
    assert fourth.made.reason == f"{kind} was asked for; it takes 1,000 images, there are 600"
    check_answers(gallery, 1.0)
    gallery.writer.close()


def test_another_kind_takes_a_generation_and_keeps_projection_and_calibration(
    tmp_path: Path,
) -> None:
    gallery = of_kind("flat", tmp_path / "index")
    first = refresh(gallery.writer)
    with gallery.writer.writing():
        gallery.writer.set_calibration(first.generation, b"as it was")
    before, wanted = gallery.state(), first
    for kind in (*APPROXIMATE, "flat"):
        with gallery.writer.writing():
            spec = IndexSpec(dims=12, kind=kind)  # type: ignore[arg-type]
            gallery.writer.set("index_spec", spec.to_dict())
        done = refresh(gallery.writer)
        assert done.new and done.generation == wanted.generation + 1 and done.fitted == 1500
        assert done.made is not None and done.made.kind == kind
        after = gallery.state()
        assert after.projection.to_bytes() == before.projection.to_bytes()
        assert gallery.writer.calibration(done.generation) == b"as it was"
        assert not refresh(gallery.writer).new
        wanted = done
    again = refresh(gallery.writer, reindex=True)
    assert again.new and again.generation == wanted.generation + 1
    kept = {row[0] for row in gallery.writer.db.execute("SELECT id FROM generations")}
    keys = gallery.writer.db.execute("SELECT key FROM settings WHERE key GLOB 'search:*'")
    assert {int(key.split(":")[1]) for (key,) in keys} == kept and len(kept) == 3
    gallery.writer.close()


def test_auto_grows_into_another_kind_and_back(tmp_path: Path) -> None:
    gallery = of_kind("auto", tmp_path / "index")
    made = refresh(gallery.writer).made
    assert made is not None and (made.kind, made.asked, made.recall) == ("flat", "auto", 1.0)
    with gallery.writer.writing():  # a latency that 1,500 images take longer than
        spec = IndexSpec(dims=12, latency_ms=0.003)
        gallery.writer.set("index_spec", spec.to_dict())
    made = refresh(gallery.writer).made
    assert made is not None and made.kind == "hnsw" and "0.003 are allowed" in made.reason
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(1, 900))
    made = refresh(gallery.writer).made
    assert made is not None and made.kind == "flat"
    gallery.writer.close()


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize(
    "damage",
    ["tear", "remove", "other kind", "other vectors", "foreign", "no vectors", "flipped vectors"],
)
def test_damage_is_noticed_and_mended(kind: str, damage: str, tmp_path: Path) -> None:
    gallery = of_kind(kind, tmp_path / "index")
    refresh(gallery.writer)
    gallery.writer.close()
    file = derived_files(str(tmp_path / "index"))[-1]
    old = read_derived(file)
    if damage == "tear":
        Path(file.path).write_bytes(Path(file.path).read_bytes()[:500])
    elif damage == "remove":
        os.remove(file.path)
    elif damage == "other kind":  # as a kill between the file and the notes of it leaves it
        with Catalog(str(tmp_path / "index")) as catalog:
            state = load_state(catalog)
            assert state is not None
            write_derived(catalog.index, file.generation, file.seq, state.live.merged())
    elif damage == "other vectors":
        ids, rows = old.ids(), old.vectors()
        old.remove(ids)
        old.add(ids, np.roll(rows, 700, axis=0))
        write_derived(str(tmp_path / "index"), file.generation, file.seq, old)
    elif damage == "no vectors":
        os.remove(file.vectors)
        with Catalog(str(tmp_path / "index")) as catalog:  # answers stay right meanwhile
            notes: list[str] = []
            state = load_state(catalog, notes)
            assert state is not None and state.live.file is None
            assert len(notes) == 1 and "scored by the stored features" in notes[0]
    elif damage == "flipped vectors":
        data = bytearray(Path(file.vectors).read_bytes())
        data[40] ^= 64
        Path(file.vectors).write_bytes(data)
    else:
        old.add(np.array([4711], np.int64), np.eye(1, 12, dtype=np.float32))
        write_derived(str(tmp_path / "index"), file.generation, file.seq, old)
    expected = {
        "tear": "FAISS file corrupt", "remove": "FAISS file missing", "other kind": None,
        "other vectors": "FAISS vectors not those of the features",
        "foreign": "FAISS ids not those of the catalog", "no vectors": "FAISS file corrupt",
        "flipped vectors": "FAISS vectors damaged",
    }[damage]  # fmt: skip
    found = [fault for fault in faults(tmp_path / "index") if fault.startswith("FAISS")]
    assert found == ([] if expected is None else [expected])
    if damage == "other kind":
        from cbir.lifecycle.sync import writing

        with writing(str(tmp_path / "index")) as catalog:
            done = refresh(catalog)
            assert done.written and done.made is not None and done.made.kind == kind
    else:
        mend(tmp_path / "index", GridEmbedder())
    assert read_derived(derived_files(str(tmp_path / "index"))[-1]).kind == kind
    assert not [fault for fault in faults(tmp_path / "index") if fault.startswith("FAISS")]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_embeddings_lie_beside_the_codes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the stored features, after a build and after changes; a search reads
    nothing else; an exact index has none."""
    gallery = of_kind(kind, tmp_path / "index")
    refresh(gallery.writer)
    for change in range(2):
        state = gallery.state()
        file = state.live.file
        assert file is not None and file.check()
        assert np.array_equal(file.ids, state.stored.ids())
        assert np.array_equal(file.rows, state.stored.vectors_of(file.ids))
        if change == 0:
            gallery.add(clustered(60, 4), 4)
            with gallery.writer.writing() as seq:
                gallery.writer.remove_files(seq, range(3, 40))
            assert refresh(gallery.writer).written
    names = sorted(os.listdir(tmp_path / "index" / "ann"))
    assert [name.rsplit(".")[-1] for name in names] == ["faiss", "vectors"]
    live = gallery.state().live
    monkeypatch.setattr("cbir.query.state.StoredVectors.vectors_of", None)
    assert len(live.search(live.vectors_of(live.base.ids()[:1]), 10)[1][0]) == 10
    monkeypatch.undo()
    with gallery.writer.writing():
        gallery.writer.set("index_spec", IndexSpec(dims=12, kind="flat").to_dict())
    refresh(gallery.writer)
    gallery.writer.drop_unfinished()
    newest = derived_files(str(tmp_path / "index"))[-1]
    assert not os.path.exists(newest.vectors)
    gallery.writer.close()


@pytest.mark.parametrize("kind", ["ivf", "pq"])
def test_an_index_beyond_the_memory_is_searched_where_it_lies(kind: str, tmp_path: Path) -> None:
    gallery = of_kind(kind, tmp_path / "index")
    refresh(gallery.writer)
    assert not gallery.state().live.base.on_disk
    with gallery.writer.writing():
        spec = IndexSpec(dims=12, kind=kind, recall=0.95, memory=20_000)  # type: ignore[arg-type]
        gallery.writer.set("index_spec", spec.to_dict())
    refresh(gallery.writer)
    live = gallery.state().live
    assert live.base.on_disk and live.base.kind == kind
    check_answers(gallery)
    gallery.add(clustered(60, 4), 4)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(3, 40))
    assert refresh(gallery.writer).written  # built again: it cannot be changed there
    live = gallery.state().live
    assert live.base.on_disk and live.pending == 0 and len(live) == 1523
    check_answers(gallery)
    assert not [fault for fault in faults(tmp_path / "index") if fault.startswith("FAISS")]
    gallery.writer.close()


def test_damage_to_embeddings_does_not_outlive_a_change(tmp_path: Path) -> None:
    """A row of the right length that is another's: seen by a check, not copied by an update."""
    gallery = of_kind("ivf", tmp_path / "index")
    refresh(gallery.writer)
    file = derived_files(str(tmp_path / "index"))[-1]
    state = gallery.state()
    rows = np.memmap(file.vectors, "<f4", "r+", 0, (1500, 12))
    rows[700] = rows[3]
    rows.flush()
    assert "FAISS vectors damaged" in faults(tmp_path / "index")
    gallery.add(clustered(60, 4), 4)
    assert refresh(gallery.writer).written
    state = gallery.state()
    assert state.live.file is not None and state.live.file.check()
    ids = state.stored.ids()
    assert np.array_equal(state.live.file.rows, state.stored.vectors_of(ids))
    assert "FAISS vectors damaged" not in faults(tmp_path / "index")
    gallery.writer.close()


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_many_neighbouring_images_go(kind: str, tmp_path: Path) -> None:
    gallery = of_kind(kind, tmp_path / "index", 9000)
    refresh(gallery.writer)
    with gallery.writer.writing() as seq:
        gallery.writer.remove_files(seq, range(1, 4098))
    assert refresh(gallery.writer).written
    check_answers(gallery)
    gallery.writer.close()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = of_kind("hnsw", tmp_path / "index")
    refresh(gallery.writer)
    before = sorted(os.listdir(tmp_path / "index" / "ann"))
    gallery.add(clustered(60, 4), 4)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cbir.index.faiss_index.FaissIndex.write", full)
        with pytest.raises(OperationFailedError, match="run the command again"):
            refresh(gallery.writer)
    assert sorted(os.listdir(tmp_path / "index" / "ann")) == before
    assert refresh(gallery.writer).written
    check_answers(gallery)
    gallery.writer.close()


def test_a_reader_looks_again_where_a_writer_swaps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = of_kind("ivf", tmp_path / "index")
    refresh(gallery.writer)
    gallery.add(clustered(60, 4), 4)

    def swapped(file: object, memory: int | None = None) -> object:
        monkeypatch.undo()
        base = read_derived(file, memory)  # type: ignore[arg-type]
        with gallery.writer.writing():
            pass
        assert refresh(gallery.writer).written  # the file that was just read is gone now
        return base

    monkeypatch.setattr("cbir.query.state.read_derived", swapped)
    notes: list[str] = []
    with Catalog(str(tmp_path / "index")) as catalog:
        state = load_state(catalog, notes)
    assert state is not None and state.live.file is not None and notes == []
    gallery.writer.close()


def test_an_index_of_before_there_were_kinds_stays_as_it_is(tmp_path: Path) -> None:
    gallery = of_kind("flat", tmp_path / "index")
    refresh(gallery.writer)
    with gallery.writer.writing():
        gallery.writer.db.execute("DELETE FROM settings WHERE key GLOB 'search:*'")
    before = derived_files(gallery.writer.index)
    assert not refresh(gallery.writer).written and derived_files(gallery.writer.index) == before
    gallery.add(clustered(30, 4), 4)
    done = refresh(gallery.writer)
    assert done.written and not done.new and done.made is None
    assert info(gallery.writer.index)["search"] is None
    check_answers(gallery, 1.0)
    gallery.writer.close()


def test_figures_are_plain_json(tmp_path: Path) -> None:
    gallery = of_kind("ivf", tmp_path / "index")
    refresh(gallery.writer)
    facts = info(gallery.writer.index)
    assert json.loads(json.dumps(facts))["search"]["kind"] == "ivf" and DIMS == 24
    gallery.writer.close()


def test_a_full_disk_leaves_the_former_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = of_kind("flat", tmp_path / "index")
    first = refresh(gallery.writer)

    def full(*_: object) -> None:
        raise OperationFailedError("disk full")

    with gallery.writer.writing():
        gallery.writer.set("index_spec", IndexSpec(dims=12, kind="ivf").to_dict())
    with monkeypatch.context() as patch:
        patch.setattr("cbir.lifecycle.generations.write_derived", full)
        with pytest.raises(OperationFailedError):
            refresh(gallery.writer)
    assert gallery.state().generation.id == first.generation
    check_answers(gallery, 1.0)
    made = refresh(gallery.writer).made
    assert made is not None and made.kind == "ivf"
    gallery.writer.close()
