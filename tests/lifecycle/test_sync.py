"""`sync`: embeds only what is new or changed, keeps ids, drops only what is surely gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.catalog import Catalog
from cbir.errors import IndexIncompatibleError, IndexLockedError, IndexMissingError, UsageError
from cbir.index import writer_lock
from cbir.lifecycle import EmbedderRequest, remove
from cbir.query import Index
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import faults, ids, nearest, run, vectors

Draw = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_a_second_run_embeds_nothing(photos: Path, index: Path, grid: GridEmbedder) -> None:
    first = run(index, photos, grid=grid)
    assert (first.added, first.embedded, first.images) == (12, 12, 12)
    before = ids(index)
    again = run(index, photos, grid=grid)
    assert (again.added, again.embedded, again.unchanged) == (0, 0, 12)
    known = run(index, grid=grid)
    assert (known.embedded, known.unchanged, grid.seen) == (0, 12, 12)
    assert ids(index) == before and not faults(index)


def test_moved_changed_deleted_added(
    photos: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    run(index, photos, grid=grid)
    before = ids(index)
    (photos / "c").mkdir()
    for name in ("00.png", "02.png", "04.png"):
        shutil.move(photos / "a" / name, photos / "c" / name)
    os.rename(photos / "b" / "01.png", photos / "b" / "renamed.png")
    draw("a/06.png", seed=106)
    os.remove(photos / "a" / "08.png")
    draw("new.png", seed=50)
    report = run(index, photos, grid=grid)
    assert (report.moved, report.changed, report.removed, report.added) == (4, 1, 1, 1)
    assert report.embedded == 2 and grid.seen == 14
    after = ids(index)
    assert after["c/00.png"] == before["a/00.png"]
    assert after["b/renamed.png"] == before["b/01.png"]
    assert after["a/06.png"] == before["a/06.png"]
    assert after["new.png"] == 13 and "a/08.png" not in after
    assert not faults(index)
    copy = draw("query.png", seed=106, folder="elsewhere")
    assert nearest(index, copy, grid)[0] == "06.png"


def test_copies_are_embedded_once_and_kept_apart(index: Path, grid: GridEmbedder, draw: Draw,
                                                 tmp_path: Path) -> None:  # fmt: skip
    for name in ("one.png", "two.png", "deep/three.png"):
        draw(name, seed=1)
    report = run(index, tmp_path / "photos", grid=grid)
    assert (report.added, report.embedded, grid.seen) == (3, 1, 1)
    assert len(ids(index)) == 3
    draw("four.png", seed=1)
    assert run(index, grid=grid).embedded == 0
    with Index(str(index), grid) as opened:
        hits = opened.query(str(tmp_path / "photos" / "one.png")).hits
    assert sorted(Path(h.path).name for h in hits) == ["four.png", "three.png", "two.png"]
    assert all(h.identical and h.score > 0.9999 for h in hits)


def test_touched_but_equal_files_stay(photos: Path, index: Path, grid: GridEmbedder) -> None:
    run(index, photos, grid=grid)
    before = ids(index)
    for file in photos.rglob("*.png"):
        os.utime(file, (1, 1))
    report = run(index, photos, grid=grid)
    assert (report.unchanged, report.changed, report.embedded) == (12, 0, 0)
    assert ids(index) == before
    assert run(index, photos, grid=grid).unchanged == 12


def test_an_absent_or_empty_root_drops_nothing_without_prune(
    photos: Path, index: Path, grid: GridEmbedder, tmp_path: Path
) -> None:
    run(index, photos, grid=grid)
    away = tmp_path / "away"
    os.rename(photos, away)
    report = run(index, grid=grid)
    assert report.removed == 0 and report.images == 12 and "is not there" in report.offline[0]
    report = run(index, photos, grid=grid)  # named, and known: also kept
    assert report.images == 12
    photos.mkdir()
    report = run(index, photos, grid=grid)
    assert report.images == 12 and "is empty" in report.offline[0]
    photos.rmdir()
    os.rename(away, photos)
    report = run(index, photos, grid=grid)
    assert report.embedded == 0 and report.images == 12 and not report.offline
    shutil.rmtree(photos)
    report = run(index, grid=grid, prune=True)
    assert (report.removed, report.images) == (12, 0)


def test_a_folder_that_cannot_be_listed_drops_nothing_below(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    """Links to folders that break are as good as unreadable folders, for any user."""
    target = photos.parent / "target"
    os.rename(photos / "b", target)
    os.symlink(target, photos / "b")
    run(index, photos, grid=grid)
    assert len(ids(index)) == 12


def test_failures_are_kept_and_retried_when_the_file_changes(
    photos: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    bad = photos / "bad.jpg"
    bad.write_bytes(b"<html>no picture</html>")
    report = run(index, photos, grid=grid)
    assert report.added == 12
    assert [(Path(f.path).name, "HTML" in f.reason) for f in report.failures] == [("bad.jpg", True)]
    with Catalog(str(index)) as catalog:
        assert [Path(f.path).name for f in catalog.failures()] == ["bad.jpg"]
    again = run(index, photos, grid=grid)
    assert not again.failures and again.known_failures == 1
    retried = run(index, photos, grid=grid, retry_failed=True)
    assert len(retried.failures) == 1
    picture(77).save(bad, "PNG")
    assert run(index, photos, grid=grid).added == 1
    with Catalog(str(index)) as catalog:
        assert catalog.failures() == []
    bad.write_bytes(b"broken again")
    report = run(index, photos, grid=grid)
    assert report.removed == 1 and len(report.failures) == 1 and report.images == 12
    os.remove(bad)
    run(index, photos, grid=grid)
    with Catalog(str(index)) as catalog:
        assert catalog.failures() == []


def test_a_file_that_is_broken_for_a_while_has_all_of_it_back(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    (photos / "m.csv").write_text("path, label\na/00.png, hat\n")
    run(index, photos, grid=grid, metadata=str(photos / "m.csv"))
    before, file = ids(index), photos / "a" / "00.png"
    data = file.read_bytes()
    for broken in (data[:40], b""):
        file.write_bytes(broken)
        assert run(index, photos, grid=grid).images == 11
    file.write_bytes(data)
    report = run(index, photos, grid=grid)
    assert (report.added, report.embedded, report.images) == (1, 0, 12)
    assert ids(index) == before and not faults(index)
    with Catalog(str(index)) as catalog:
        assert catalog.column("label") == {before["a/00.png"]: "hat"}
    assert nearest(index, photos / "a" / "02.png", grid, k=20).count("00.png") == 1
    file.write_bytes(b"")
    run(index, photos, grid=grid)
    file.unlink()
    run(index, photos, grid=grid)
    with Catalog(str(index)) as catalog:
        assert catalog.column("label") == {} and catalog.failures() == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_a_file_that_cannot_be_read_just_now_keeps_its_place(grid: GridEmbedder) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cbir-unreadable-"))
    root = os.geteuid() == 0
    photos, index = folder / "photos", folder / "index"
    try:
        os.chmod(folder, 0o777)
        photos.mkdir()
        for i in range(3):
            picture(i).save(photos / f"{i}.png")
            os.chmod(photos / f"{i}.png", 0o644)
        if root:
            os.seteuid(65534)
        run(index, photos, grid=grid)
        if root:
            os.seteuid(0)
        os.utime(photos / "1.png", (5, 5))
        os.chmod(photos / "1.png", 0)
        if root:
            os.seteuid(65534)
        for _ in range(2):  # and tried again each time
            report = run(index, photos, grid=grid)
            assert len(report.failures) == 1 and report.removed == 0 and report.images == 3
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_renamed_root_is_moved_when_both_names_are_given(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    run(index, photos, grid=grid)
    before = ids(index)
    renamed = photos.with_name("renamed")
    os.rename(photos, renamed)
    report = run(index, photos, renamed, grid=grid, prune=True)
    assert (report.moved, report.embedded, report.images) == (12, 0, 12)
    assert ids(index) == before


def test_a_file_that_went_to_another_root_is_moved(
    tmp_path: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    draw("x.png", 1, "one")
    draw("keep.png", 3, "one")
    draw("y.png", 2, "two")
    run(index, tmp_path / "one", tmp_path / "two", grid=grid)
    before = ids(index)
    os.rename(tmp_path / "one" / "x.png", tmp_path / "two" / "new.png")
    report = run(index, tmp_path / "two", grid=grid)
    assert (report.moved, report.added, report.images) == (1, 0, 3)
    assert ids(index)["new.png"] == before["x.png"]
    assert not faults(index)


def test_nested_folders_in_one_command(
    photos: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    run(index, photos, grid=grid)
    draw("a/x/1.png", 60)
    draw("a/x/y/2.png", 61)
    report = run(index, photos / "a" / "x", photos / "a" / "x" / "y", grid=grid)
    assert (report.added, report.images) == (2, 14)


def test_excludes_below_a_root_are_refused_and_those_of_inner_roots_stay(
    photos: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    run(index, photos / "a", grid=grid, scanning={"exclude": ["0*"]})
    assert sorted(ids(index)) == ["10.png"]
    report = run(index, photos, grid=grid)
    assert report.images == 7 and "a/00.png" not in ids(index)
    with pytest.raises(UsageError, match="hold for a whole folder"):
        run(index, photos / "a", grid=grid, scanning={"exclude": ["x"]})
    draw(".hidden.png", 70)
    assert run(index, grid=grid, scanning={"include_hidden": True}).images == 8
    assert "a/00.png" not in ids(index)  # the excludes stayed
    assert run(index, grid=grid, scanning={"include_hidden": False}).images == 7


def test_dates_that_no_calendar_has(photos: Path, index: Path, grid: GridEmbedder) -> None:
    os.utime(photos / "a" / "00.png", (13_600_000_000, 13_600_000_000))
    assert run(index, photos, grid=grid).images == 12
    assert run(index, photos, grid=grid).unchanged == 12


def test_a_bad_table_is_said_before_the_work(photos: Path, index: Path, grid: GridEmbedder) -> None:
    table = photos / "m.csv"
    for data, word in (
        (b"path,label\na/00.png,caf\xe9\n", "line 2"),
        (b"label\nx\n", "path"),
        (b"path,label\na\0b,x\n", "NUL"),
    ):
        table.write_bytes(data)
        with pytest.raises(UsageError, match=word):
            run(index, photos, grid=grid, metadata=str(table))
    assert grid.seen == 0 and not index.exists()


def test_a_log_that_outlived_its_catalog_is_not_applied(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    run(index, photos, grid=grid)
    (index / "catalog.sqlite").unlink()
    (index / "catalog.sqlite-wal").write_bytes(b"of another catalog" * 500)
    report = run(index, photos, grid=grid)
    assert (report.added, report.removed) == (12, 0) and not faults(index)


def test_several_writers_on_a_new_index_do_not_destroy_it(photos: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.lifecycle.killed_run"]
    for i in range(3):
        index = tmp_path / f"new{i}"
        writers = [
            subprocess.Popen(
                [*program, str(index), str(photos), str(tmp_path / f"log{i}-{j}"), "4"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for j in range(4)
        ]  # fmt: skip
        ends = [(w.communicate(timeout=60), w.returncode) for w in writers]
        assert 0 in [code for _, code in ends]
        assert all(code == 0 or "being written by" in err for (_, err), code in ends)
        assert len(ids(index)) == 12 and not faults(index)


def test_several_folders_in_one_index(tmp_path: Path, index: Path, grid: GridEmbedder,
                                      draw: Draw) -> None:  # fmt: skip
    draw("x.png", 1, "one")
    draw("x.png", 2, "two")
    assert run(index, tmp_path / "one", tmp_path / "two", grid=grid).added == 2
    draw("y.png", 3, "two")
    report = run(index, tmp_path / "one", grid=grid)
    assert (report.added, report.unchanged, report.images) == (0, 1, 2)
    assert run(index, grid=grid).added == 1
    moved = tmp_path / "one" / "z.png"
    os.rename(tmp_path / "two" / "y.png", moved)
    report = run(index, grid=grid)
    assert (report.moved, report.embedded, report.images) == (1, 0, 3)


def test_folders_inside_and_around_known_ones_do_not_duplicate(
    photos: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    run(index, photos / "a", grid=grid)
    before = {name: image for name, image in ids(index).items()}
    report = run(index, photos, grid=grid)
    assert (report.added, report.unchanged, report.images) == (6, 6, 12)
    after = ids(index)
    assert all(after[f"a/{name}"] == image for name, image in before.items())
    draw("a/new.png", 40)
    draw("b/new.png", 41)
    report = run(index, photos / "a", grid=grid)
    assert (report.added, report.images) == (1, 13)
    os.remove(photos / "b" / "01.png")
    assert run(index, photos / "a", grid=grid).removed == 0
    assert run(index, photos, photos / "a", photos, grid=grid).images == 13
    with Catalog(str(index)) as catalog:
        assert [r.path for r in catalog.roots()] == [os.path.realpath(photos)]


def test_excludes_are_remembered(photos: Path, index: Path, grid: GridEmbedder) -> None:
    scanning = {"exclude": ["b", "*/02.*"], "include_hidden": False}
    assert run(index, photos, grid=grid, scanning=scanning).added == 5
    assert run(index, grid=grid).images == 5
    assert run(index, photos, grid=grid).images == 5
    assert run(index, grid=grid, scanning={"exclude": []}).images == 12


def test_excludes_are_relative_to_the_root_also_below_it(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    scanning = {"exclude": ["a/0*"], "include_hidden": False}
    assert run(index, photos, grid=grid, scanning=scanning).added == 7
    report = run(index, photos / "a", grid=grid)
    assert (report.added, report.removed, report.images) == (0, 0, 7)


def test_the_index_is_not_the_folder_of_the_images(photos: Path, grid: GridEmbedder) -> None:
    before = sorted(os.listdir(photos))
    with pytest.raises(UsageError, match="apart from the images"):
        run(photos, photos, grid=grid)
    assert sorted(os.listdir(photos)) == before


def test_the_index_folder_is_never_scanned(tmp_path: Path, grid: GridEmbedder, draw: Draw) -> None:
    draw("a.png", 1)
    index = tmp_path / "photos" / "index"
    run(index, tmp_path / "photos", grid=grid)
    picture(3).save(index / "picture.png")
    assert run(index, tmp_path / "photos", grid=grid).images == 1


def test_another_embedder_is_refused_with_the_command(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    run(index, photos, grid=grid)
    for other in (GridEmbedder(size=16), GridEmbedder(salt="other weights")):
        with pytest.raises(IndexIncompatibleError, match="cbir index FOLDER -i OTHER"):
            run(index, photos, grid=other)
    with pytest.raises(IndexIncompatibleError, match="test-grid .*efficientnet-lite0"):
        run(index, photos, grid=EmbedderRequest("efficientnet-lite0"))  # type: ignore[arg-type]
    assert run(index, photos, grid=grid).embedded == 0


def test_one_writer_and_readers_go_on(photos: Path, index: Path, grid: GridEmbedder) -> None:
    run(index, photos, grid=grid)
    with writer_lock(str(index)):
        with pytest.raises(IndexLockedError, match="being written by process"):
            run(index, photos, grid=grid)
        assert len(nearest(index, photos / "a" / "00.png", grid)) == 3


def test_what_is_missing_is_said(tmp_path: Path, index: Path, grid: GridEmbedder) -> None:
    with pytest.raises(IndexMissingError):
        run(index, grid=grid)
    with pytest.raises(UsageError, match="there is nothing at"):
        run(index, tmp_path / "nowhere", grid=grid)
    assert not index.exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="a file"):
        run(index, tmp_path / "file", grid=grid)
    (tmp_path / "photos").mkdir()
    run(index, tmp_path / "photos", grid=grid)
    remove(str(index), [], [str(tmp_path / "photos")])
    with pytest.raises(UsageError, match="knows no folder yet"):
        run(index, grid=grid)
    with pytest.raises(UsageError, match="there is nothing at"):
        run(index, tmp_path / "nowhere", grid=grid)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_small_galleries(
    n: int, tmp_path: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(n):
        draw(f"{i}.png", i)
    report = run(index, tmp_path / "photos", grid=grid)
    assert (report.added, report.images) == (n, n)
    assert not faults(index)
    query = draw("q.png", 0, "elsewhere")
    if n == 0:
        with pytest.raises(UsageError, match="holds no images yet"):
            nearest(index, query, grid)
    else:
        found = nearest(index, query, grid, k=10)
        assert len(found) == n and found[0] == "0.png"
    for file in (tmp_path / "photos").glob("*"):
        file.unlink()
    (tmp_path / "photos" / "readme.txt").write_text("not empty")
    assert run(index, grid=grid).images == 0
    if n:
        assert nearest(index, query, grid) == []


def test_metadata_is_stored_and_rows_without_image_are_said(
    photos: Path, index: Path, grid: GridEmbedder
) -> None:
    table = photos / "meta.csv"
    table.write_text("path,label\na/00.png,hat\nb/01.png,shoe\nnone.png,x\n")
    report = run(index, photos, grid=grid, metadata=str(table))
    assert report.metadata_rows == 2
    assert [Path(p).name for p in report.metadata_unmatched] == ["none.png"]
    with Catalog(str(index)) as catalog:
        assert sorted(catalog.column("label").values()) == ["hat", "shoe"]
    os.rename(photos / "a" / "00.png", photos / "moved.png")
    run(index, grid=grid)
    with Catalog(str(index)) as catalog:
        assert catalog.column("label")[ids(index)["moved.png"]] == "hat"


def test_an_index_is_the_same_whatever_the_batch_size(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    made = []
    for size in (1, 5, 64):
        index = tmp_path / f"index{size}"
        run(index, photos, grid=grid, batch_size=size)
        made.append((ids(index), vectors(index)))
    assert made[0] == made[1] == made[2]


def test_names_that_are_not_utf8_are_indexed_and_found(
    tmp_path: Path, index: Path, grid: GridEmbedder, draw: Draw
) -> None:
    source = draw("a.png", 1)
    odd = os.path.join(os.fsencode(source.parent), b"caf\xe9 \n'\".png")
    try:
        os.rename(source, odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    run(index, tmp_path / "photos", grid=grid)
    with Index(str(index), grid) as opened:
        hit = opened.query(str(draw("q.png", 1, "elsewhere"))).hits[0]
        assert os.fsencode(hit.path) == odd and hit.identical
        assert opened.query(os.fsdecode(odd)).hits == ()
