"""Moving an index to another embedder and back, with nothing lost on the way."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import Catalog, CatalogWriter
from cbir.config import IndexSpec
from cbir.errors import IndexIncompatibleError, IndexLockedError, OperationFailedError, UsageError
from cbir.evaluate.gallery import of_index
from cbir.evaluate.index_protocol import from_index
from cbir.index import derived_files, writer_lock
from cbir.lifecycle import check, forget, info, repair, roll_back
from cbir.lifecycle.adopt import AdoptOptions
from cbir.lifecycle.verdict import Contest
from cbir.query import Index
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.galleries import CellEmbedder, answers, back, classes, live, moved
from tests.lifecycle.helpers import faults, ids, run, vectors


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures of six classes and their index by mean colours, calibrated."""
    folder = tmp_path_factory.mktemp("adopt")
    classes(folder / "photos")
    run(folder / "index", folder / "photos", grid=CellEmbedder(1))
    return folder


@pytest.fixture
def photos(template: Path) -> Path:
    return template / "photos"


@pytest.fixture
def index(template: Path, tmp_path: Path) -> Path:
    """A copy of that index; its photos are shared."""
    shutil.copytree(template / "index", tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def own(template: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the photos, and an index of it."""
    shutil.copytree(template / "photos", tmp_path / "photos")
    run(tmp_path / "own", tmp_path / "photos", grid=CellEmbedder(1), calibrate=False)
    return tmp_path / "photos", tmp_path / "own"


def count(index: Path, table: str) -> int:
    db = sqlite3.connect(index / "catalog.sqlite")
    found = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    db.close()
    return int(found)


def test_a_better_one_is_taken(index: Path, photos: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    report = moved(index, new, old, calibrate=True)
    assert report.swapped and not report.forced and report.why == ""
    assert (report.embedded, report.images, report.lost) == (48, 48, {})
    assert live(index) == (new.fingerprint, report.generation)
    verdict = report.verdict
    assert verdict is not None and verdict.better and verdict.labels == "parent folder"
    assert [f.metric for f in verdict.figures] == ["recall@1", "mAP", "MAP@R"]
    assert all(f.difference == pytest.approx(f.new - f.old) for f in verdict.figures)
    assert all(0 < f.low <= f.difference <= f.high for f in verdict.figures)
    assert verdict.queries == verdict.gallery == 48
    assert report.calibrated and faults(index) == []
    fresh = index.parent / "fresh"
    run(fresh, photos, grid=CellEmbedder(4))
    same = answers(fresh, photos, new).replace(str(fresh), str(index))
    assert answers(index, photos, new) == same


def test_a_worse_one_is_refused(index: Path, photos: Path) -> None:
    old = CellEmbedder(1)
    moved(index, CellEmbedder(4), old, force=True)
    before, state = answers(index, photos, CellEmbedder(4)), live(index)
    worse = CellEmbedder(1, size=8)
    report = moved(index, worse, CellEmbedder(4))
    assert not report.swapped and "is lower" in report.why
    assert live(index) == state and answers(index, photos, CellEmbedder(4)) == before
    assert faults(index) == [] and count(index, "generations WHERE state = 'building'") == 0
    again = moved(index, worse, CellEmbedder(4), force=True)
    assert again.swapped and again.forced and again.embedded == 0 and "is lower" in again.why
    assert live(index)[0] == worse.fingerprint and faults(index) == []


def test_an_equal_one_is_refused(index: Path) -> None:
    twin = CellEmbedder(1)
    twin.fingerprint = "f" * 32
    report = moved(index, twin, CellEmbedder(1))
    assert not report.swapped and "not surely higher" in report.why
    assert report.verdict is not None
    assert {(f.difference, f.low, f.high) for f in report.verdict.figures} == {(0, 0, 0)}


def test_roll_back_gives_the_same_answers(index: Path, photos: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    before, first = answers(index, photos, old), live(index)
    moved(index, new, old)
    adopted, second = answers(index, photos, new), live(index)
    assert adopted != before
    for _ in range(2):
        seen = old.seen
        report = back(index, old)
        assert report.swapped and report.embedded == 0 and old.seen == seen
        assert live(index) == first and answers(index, photos, old) == before
        back(index)
        assert live(index) == second and answers(index, photos, new) == adopted
    assert faults(index) == []


def test_roll_back_embeds_what_was_added_and_drops_what_went(own: tuple[Path, Path]) -> None:
    photos, index = own
    old, new = CellEmbedder(1), CellEmbedder(4)
    twin = index.parent / "twin"
    shutil.copytree(index, twin)
    moved(index, new, old)
    picture(7).save(photos / "class0" / "new.png")
    picture(8).save(photos / "class1" / "too.png")
    os.remove(photos / "class2" / "3.png")
    synced = run(index, grid=new, calibrate=False)
    assert (synced.added, synced.removed, synced.embedded) == (2, 1, 2)
    assert info(str(index))["former"]["without_feature"] == 2  # type: ignore[index]
    seen = old.seen
    report = back(index, old)
    assert report.embedded == 2 == old.seen - seen and report.swapped
    run(twin, grid=CellEmbedder(1), calibrate=False)
    same = answers(twin, photos, old).replace(str(twin), str(index))
    assert answers(index, photos, old) == same and len(ids(index)) == 49
    assert back(index, new).embedded == 0
    assert faults(index) == []


def test_the_former_one_survives_new_generations(index: Path, photos: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    before = answers(index, photos, old)
    moved(index, new, old)
    for dims in (3, 4, 5, 6, 7):
        run(index, grid=new, spec=IndexSpec(dims=dims), refit=True, calibrate=False)
    assert live(index)[1] >= 7 and len(derived_files(str(index))) == 2
    back(index)
    assert answers(index, photos, old) == before
    run(index, grid=old)  # its settings came back with it: nothing is made anew
    assert answers(index, photos, old) == before
    assert faults(index) == []


def test_projections_are_each_embedders_own(
    own: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, index = own
    monkeypatch.setattr("cbir.lifecycle.generations.FIT_AT", 10)
    old, new = CellEmbedder(2), CellEmbedder(4)
    shutil.rmtree(index)
    run(index, photos, grid=old, spec=IndexSpec(dims=6), calibrate=False)
    before = answers(index, photos, old)
    report = moved(index, new, old, force=True)
    assert report.fitted == 48
    with Catalog(str(index)) as catalog:
        generation, former = catalog.generation(), catalog.former()
        assert generation is not None and former is not None
        assert generation.projection != former.projection and former.projection is not None
    back(index)
    assert answers(index, photos, old) == before and faults(index) == []


def test_the_live_one_is_nothing_to_do(index: Path) -> None:
    old = CellEmbedder(1)
    report = moved(index, old)
    assert report.already and not report.swapped and "already" in report.why
    assert old.seen == 0 and info(str(index))["former"] is None


def test_no_way_back_before_the_first(index: Path) -> None:
    with pytest.raises(UsageError, match="no former embedder to go back to"):
        back(index)
    assert forget(str(index)) == []


def test_forget_leaves_the_live_one_only(index: Path, photos: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    moved(index, new, old)
    refused = CellEmbedder(1, size=8)
    moved(index, refused, new)
    assert count(index, "features") == 3 * 48
    kept = answers(index, photos, new)
    assert forget(str(index)) == sorted((old.fingerprint, refused.fingerprint))
    assert count(index, "features") == 48 and count(index, "embedders") == 1
    assert answers(index, photos, new) == kept and len(derived_files(str(index))) == 1
    with pytest.raises(UsageError, match="no former"):
        back(index)
    assert faults(index) == [] and count(index, "generations") == 1


def test_a_third_one_takes_the_place_of_the_first(index: Path) -> None:
    first, second, third = CellEmbedder(1), CellEmbedder(4), CellEmbedder(8)
    moved(index, second, first, force=True)
    report = moved(index, third, second, force=True)
    assert report.dropped == 1 and count(index, "features") == 2 * 48
    assert back(index).embedder == second.fingerprint
    assert faults(index) == []


def test_what_is_there_is_not_embedded_again(index: Path) -> None:
    """As after a kill: features of 20 pictures are left."""
    new, old = CellEmbedder(4), CellEmbedder(1)
    moved(index, new, old, force=True)
    back(index)
    with CatalogWriter(str(index)) as catalog, catalog.writing():
        row = catalog.embedder(new.fingerprint)
        assert row is not None
        catalog.drop_features(row.id, range(1, 29))
    again = CellEmbedder(4)
    report = moved(index, again, old)
    assert report.swapped and report.embedded == 28


# -- pictures that cannot be read ------------------------------------------------------------------


def test_a_picture_that_would_be_lost_is_no_silent_loss(own: tuple[Path, Path]) -> None:
    photos, index = own
    old, new = CellEmbedder(1), CellEmbedder(4)
    gone, changed = photos / "class0" / "1.png", photos / "class3" / "2.png"
    whole = gone.read_bytes()
    os.remove(gone)
    picture(4711).save(changed)
    report = moved(index, new, old)
    assert not report.swapped and "2 of 48 images cannot be read now" in report.why
    assert {Path(f.path): f.reason for f in report.lost.values()}.keys() == {gone, changed}
    assert {f.reason for f in report.lost.values()} >= {"has changed since it was indexed"}
    assert live(index)[0] == old.fingerprint and faults(index) == ["file gone", "file changed"]
    forced = moved(index, new, old, force=True)
    assert forced.swapped and forced.forced and forced.embedded == 0 and len(forced.lost) == 2
    assert forced.verdict is not None and forced.verdict.gallery == 46
    assert info(str(index))["without_feature"] == 2 and "feature missing" in faults(index)
    with Index(str(index), new) as opened:
        assert len(of_index(opened)) == 46 and len(from_index(opened).truth.queries) == 46
        query = str(photos / "class0" / "0.png")
        assert len(opened) == 48 and len(opened.query(query, k=100).hits) == 45
        gone.write_bytes(whole)
        os.utime(gone, ns=(1, 1))
        done = run(index, grid=new, calibrate=False)
        assert done.embedded == 2 and info(str(index))["without_feature"] == 0
        assert len(opened.query(query, k=100).hits) == 47
    assert faults(index) == []


def test_roll_back_finds_lost_pictures_again(own: tuple[Path, Path]) -> None:
    photos, index = own
    old, new = CellEmbedder(1), CellEmbedder(4)
    before = answers(index, photos, old)
    (photos / "class0" / "1.png").rename(index.parent / "away.png")
    moved(index, new, old, force=True)
    (index.parent / "away.png").rename(photos / "class0" / "1.png")
    back(index)
    assert answers(index, photos, old) == before


def test_a_file_that_is_back_unchanged_is_embedded_by_the_next_index(
    own: tuple[Path, Path],
) -> None:
    """Its size and time are those that are known: it is looked at since its feature is missing."""
    photos, index = own
    old, new = CellEmbedder(1), CellEmbedder(4)
    (photos / "class0" / "1.png").rename(index.parent / "away.png")
    moved(index, new, old, force=True)
    with Index(str(index), new) as opened:
        query = str(photos / "class0" / "0.png")
        assert len(opened.query(query, k=100).hits) == 46
        (index.parent / "away.png").rename(photos / "class0" / "1.png")
        done = run(index, grid=new, calibrate=False)
        assert (done.embedded, done.unchanged, done.changed) == (1, 48, 0)
        assert len(opened.query(query, k=100).hits) == 47
    assert faults(index) == []


def test_an_offline_folder_is_refused_even_by_force(own: tuple[Path, Path]) -> None:
    photos, index = own
    photos.rename(photos.parent / "unmounted")
    for force in (False, True):
        report = moved(index, CellEmbedder(4), CellEmbedder(1), force=force)
        assert not report.swapped and len(report.lost) == 48
        assert report.why == "none of the index's pictures can be read now"
    assert live(index)[0] == CellEmbedder(1).fingerprint


def test_a_copy_elsewhere_is_read_instead(own: tuple[Path, Path]) -> None:
    photos, index = own
    shutil.copy(photos / "class0" / "1.png", photos / "class5" / "copy.png")
    run(index, grid=CellEmbedder(1), calibrate=False)
    os.remove(photos / "class0" / "1.png")
    report = moved(index, CellEmbedder(4), CellEmbedder(1))
    assert report.swapped and report.lost == {} and report.embedded == 48


# -- small and odd galleries -----------------------------------------------------------------------


def test_an_index_without_an_embedder(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "none").mkdir()
    run(tmp_path / "index", tmp_path / "none", grid=CellEmbedder(1), calibrate=False)
    with pytest.raises(UsageError, match="has no embedder yet, since it holds no images"):
        moved(tmp_path / "index", CellEmbedder(4))


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_too_few_pictures_to_tell(size: int, tmp_path: Path) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    for i in range(4):
        picture(i).save(photos / f"{i}.png")
    run(index, photos, grid=CellEmbedder(1), calibrate=False)
    for i in range(size, 4):
        os.remove(photos / f"{i}.png")
    run(index, grid=CellEmbedder(1), prune=True, calibrate=False)
    report = moved(index, CellEmbedder(4), CellEmbedder(1))
    assert not report.swapped and report.images == size
    assert ("holds no images" if not size else "a verdict takes 20") in report.why
    report = moved(index, CellEmbedder(4), CellEmbedder(1), force=True)
    assert report.swapped and report.forced and faults(index) == []
    with Index(str(index), CellEmbedder(4)) as opened:
        assert len(opened.query(np.asarray(picture(2))).hits) == size
    back(index)
    assert live(index)[0] == CellEmbedder(1).fingerprint and faults(index) == []


def test_labels_that_are_not_there_are_refused_before_the_work(index: Path) -> None:
    new = CellEmbedder(4)
    for contest in (Contest("colour"), Contest(query_where=("split=test",))):
        with pytest.raises(UsageError, match=r"--label|where"):
            moved(index, new, CellEmbedder(1), contest=contest)
    assert new.seen == 0
    with pytest.raises(UsageError, match="needs no labels"):
        Contest("colour", label_free=True)


def test_a_writer_that_is_there_is_waited_for_by_nobody(index: Path) -> None:
    with writer_lock(str(index)), pytest.raises(IndexLockedError):
        moved(index, CellEmbedder(4))


def test_an_embedder_that_is_gone_cannot_be_gone_back_to(index: Path) -> None:
    moved(index, CellEmbedder(4), CellEmbedder(1))
    kinds = {f.kind for f in check(str(index)).faults}
    assert kinds == {"fingerprint unknown", "former embedder unusable"}
    db = sqlite3.connect(index / "catalog.sqlite")
    with db:
        db.execute("UPDATE embedders SET spec = replace(spec, 'random:0', 'trained')")
    db.close()
    with pytest.raises(IndexIncompatibleError, match="cbir adopt --forget"):
        roll_back(str(index))
    forget(str(index))
    assert "former embedder unusable" not in {f.kind for f in check(str(index)).faults}


def test_repair_mends_the_live_features_only(index: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    moved(index, new, old)
    with CatalogWriter(str(index)) as catalog, catalog.writing():
        row = catalog.embedder()
        assert row is not None
        catalog.drop_features(row.id, [3])
    before = count(index, "features")
    repair(str(index), embedder=new)
    assert faults(index) == [] and count(index, "features") == before + 1


def test_a_disk_that_is_full(index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite may use no more pages than the catalog has: as on a full disk."""
    old, new = CellEmbedder(1), CellEmbedder(8)
    before = answers(index, photos, old)
    opened = CatalogWriter._connect

    def full(self: CatalogWriter) -> sqlite3.Connection:
        db = opened(self)
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 1}")
        return db

    with monkeypatch.context() as patch:
        patch.setattr(CatalogWriter, "_connect", full)
        with pytest.raises(OperationFailedError, match="full"):
            moved(index, new, old, force=True)
    assert answers(index, photos, old) == before and faults(index) == []
    assert moved(index, new, old, force=True).swapped and faults(index) == []


# -- queries meanwhile -----------------------------------------------------------------------------


def test_no_query_fails_during_swaps(own: tuple[Path, Path]) -> None:
    """Several readers ask all the time; every answer is wholly of one embedder."""
    photos, index = own
    old, new = CellEmbedder(1), CellEmbedder(4)
    query = str(index.parent / "query.png")
    picture(5).save(query)

    def by(embedder: GridEmbedder) -> list[tuple[int, float]]:
        with Index(str(index), old, new) as opened:
            assert opened.embedder_row().fingerprint == embedder.fingerprint
            return [(h.id, round(h.score, 5)) for h in opened.query(query, k=9).hits]

    right = [by(old)]
    moved(index, new, old)
    right.append(by(new))
    done, problems, seen = threading.Event(), list[BaseException](), [0, 0]

    def ask() -> None:
        try:
            with Index(str(index), CellEmbedder(1), CellEmbedder(4)) as opened:
                while not done.is_set():
                    found = [(h.id, round(h.score, 5)) for h in opened.query(query, k=9).hits]
                    seen[right.index(found)] += 1
        except BaseException as error:
            problems.append(error)

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(10):
            back(index)
        forget(str(index))
        moved(index, old, new, force=True)
        moved(index, new, old, force=True)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not problems, problems[0]
    assert min(seen) > 0


def test_features_made_before_the_swap_are_not_used_after_it(index: Path, photos: Path) -> None:
    old, twin = CellEmbedder(4), CellEmbedder(4, size=64)  # features of one length
    moved(index, old, CellEmbedder(1))
    with Index(str(index), old, twin) as opened:
        before = opened.examples([str(photos / "class0" / "0.png")])
        assert before[0].embedder == old.fingerprint
        moved(index, twin, old, force=True)
        with pytest.raises(IndexIncompatibleError, match="Embed the pictures again"):
            opened.search(before[0].feature, 3, embedder=before[0].embedder)
        with pytest.raises(UsageError, match=r"expected \(q, 48\)"):
            opened.search(np.ones((1, 3), np.float32), 3)
        after = opened.examples([str(photos / "class0" / "0.png")])
        assert opened.search(after[0].feature, 3, embedder=after[0].embedder)[0].shape == (1, 3)
        assert opened.embedder() is twin


def test_a_swap_between_embedding_and_search(index: Path, photos: Path) -> None:
    """The old embedder swaps the index while it embeds the query: the answer is the new one's."""
    new = CellEmbedder(4)

    class Swaps(CellEmbedder):
        def features(self, pixels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if self.seen == 0:
                self.seen += 1
                moved(index, new, CellEmbedder(1))
            return super().features(pixels)

    with Index(str(index), Swaps(1), new) as opened:
        found = opened.query(np.asarray(picture(5)), k=5)
    with Index(str(index), new) as opened:
        wanted = opened.query(np.asarray(picture(5)), k=5)
    assert [(h.id, h.score) for h in found.hits] == [(h.id, h.score) for h in wanted.hits]


def test_a_generation_that_is_not_live_can_be_asked(index: Path, photos: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    first = live(index)[1]
    before = answers(index, photos, old)
    moved(index, new, old)
    with Index(str(index), old, new, generation=first) as pinned:
        assert pinned.embedder() is old and pinned.generation().id == first
        hits = pinned.query(str(photos / "class0" / "0.png"), k=7).hits
    assert all(f'"id": {h.id}' in before for h in hits)


def test_vectors_stay_those_of_each_embedder(index: Path) -> None:
    old, new = CellEmbedder(1), CellEmbedder(4)
    before = vectors(index)
    moved(index, new, old)
    assert set(map(len, vectors(index).values())) == {96} != set(map(len, before.values()))
    back(index)
    assert vectors(index) == before


def test_options_are_whole() -> None:
    assert AdoptOptions() == AdoptOptions(Contest(), False, True)
