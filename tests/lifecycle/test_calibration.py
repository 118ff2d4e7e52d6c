"""When an index is calibrated: once, again when it has changed enough, and never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import cbir
from cbir.catalog import Catalog, CatalogWriter
from cbir.config import IndexSpec
from cbir.evaluate.calibrate import LEAST
from cbir.lifecycle import check, repair, sync
from cbir.lifecycle.edit import info
from cbir.query import Index
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import faults, ids, run, vectors

ROOT = Path(cbir.__file__).parent.parent


def draw(folder: Path, seeds: Iterable[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture(seed).save(folder / f"{seed:04d}.png")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty pictures and their index, not calibrated."""
    folder = tmp_path_factory.mktemp("template")
    draw(folder / "photos", range(50))
    run(folder / "index", folder / "photos", grid=GridEmbedder(), calibrate=False)
    return folder


@pytest.fixture
def index(template: Path, tmp_path: Path) -> Path:
    """A copy of that index, with its photos."""
    shutil.copytree(template / "photos", tmp_path / "photos")
    run(tmp_path / "index", tmp_path / "photos", grid=GridEmbedder(), calibrate=False)
    return tmp_path / "index"


def stored(index: Path) -> bytes | None:
    """The live generation's calibration."""
    with Catalog(str(index)) as catalog:
        live = catalog.generation()
        assert live is not None
        return catalog.calibration(live.id)


@pytest.mark.parametrize("size", [0, 1, LEAST - 1, LEAST])
def test_from_forty_pictures_on(size: int, tmp_path: Path, grid: GridEmbedder) -> None:
    draw(tmp_path / "photos", range(size))
    report = run(tmp_path / "index", tmp_path / "photos", grid=grid)
    assert report.calibrated is (True if size >= LEAST else None)
    assert (report.calibration_s > 0) == (size >= LEAST)
    assert info(str(tmp_path / "index"))["calibrated_on"] == (size if size >= LEAST else None)


def test_copies_do_not_count(tmp_path: Path, grid: GridEmbedder) -> None:
    draw(tmp_path / "photos", range(3))
    for i in range(60):
        shutil.copy(tmp_path / "photos/0000.png", tmp_path / f"photos/copy{i}.png")
    assert run(tmp_path / "index", tmp_path / "photos", grid=grid).calibrated is None


def test_once_is_enough(index: Path, grid: GridEmbedder) -> None:
    assert run(index, grid=grid).calibrated is True
    first, seen = stored(index), grid.seen
    again = run(index, grid=grid)
    assert again.calibrated is None and again.calibration_s == 0
    assert stored(index) == first and grid.seen == seen
    assert faults(index) == []


def test_not_where_it_is_not_wanted(index: Path, grid: GridEmbedder) -> None:
    assert run(index, grid=grid, calibrate=False).calibrated is None
    assert stored(index) is None and grid.seen == 0


def test_growth_by_a_quarter_and_a_loss_of_a_fifth(index: Path, grid: GridEmbedder) -> None:
    photos = index.parent / "photos"
    run(index, grid=grid)
    draw(photos, range(100, 112))
    assert run(index, grid=grid).calibrated is None  # 62
    draw(photos, [112])
    assert run(index, grid=grid).calibrated is True  # 63, over 62.5
    for seed in range(100, 112):
        os.remove(photos / f"{seed:04d}.png")
    assert run(index, grid=grid).calibrated is None  # 51
    os.remove(photos / "0112.png")
    assert run(index, grid=grid).calibrated is True  # 50, under 50.4
    assert info(str(index))["calibrated_on"] == 50


def test_below_forty_the_former_one_is_kept(index: Path, grid: GridEmbedder) -> None:
    run(index, grid=grid)
    for seed in range(12):
        os.remove(index.parent / "photos" / f"{seed:04d}.png")
    assert run(index, grid=grid).calibrated is None and stored(index) is not None


def test_a_new_generation_is_calibrated(index: Path, grid: GridEmbedder) -> None:
    run(index, grid=grid)
    before = info(str(index))["generation"]
    assert run(index, grid=grid, refit=True).calibrated is True
    assert run(index, grid=grid, spec=IndexSpec(dims=20)).calibrated is True
    assert run(index, grid=grid).calibrated is None
    assert info(str(index))["generation"] == before + 2  # type: ignore[operator]


def test_files_that_are_gone_are_tried_once(index: Path, grid: GridEmbedder) -> None:
    photos = index.parent / "photos"
    os.rename(photos, index.parent / "away")  # a disk that is not mounted
    assert run(index, grid=grid).calibrated is False
    seq = info(str(index))["seq"]
    again = run(index, grid=grid)
    assert again.calibrated is None and grid.seen == 0
    with Index(str(index), grid) as opened:
        assert opened.query(1).hits[0].match is None
    draw(index.parent / "more", [300])
    assert run(index, index.parent / "more", grid=grid).calibrated is False  # it has changed
    os.rename(index.parent / "away", photos)
    draw(photos, [301])
    assert run(index, grid=grid).calibrated is True
    assert seq is not None


def test_the_order_of_indexing_makes_no_difference(template: Path, tmp_path: Path) -> None:
    grid = GridEmbedder()
    one = tmp_path / "one"
    run(one, template / "photos", grid=grid)
    halves = tmp_path / "halves"
    for name, seeds in (("b", range(25, 50)), ("a", range(25))):
        draw(tmp_path / "photos" / name, seeds)
        run(halves, tmp_path / "photos" / name, grid=grid, batch_size=7)
    assert stored(one) == stored(halves) is not None


# -- interrupted ---------------------------------------------------------------------------------


class Interrupted(GridEmbedder):
    """Ctrl-C at the so-manieth call."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def features(self, pixels: Pixels) -> Vectors:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().features(pixels)


@pytest.mark.parametrize("after", [2, 3, 20])
def test_ctrl_c_loses_the_calibration_only(
    after: int, template: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    index = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):  # two calls embed the photos
        run(index, template / "photos", grid=Interrupted(after), batch_size=32)
    assert (ids(index), vectors(index)) == (ids(template / "index"), vectors(template / "index"))
    assert stored(index) is None and faults(index) == []
    assert run(index, grid=grid).calibrated is True
    assert run(tmp_path / "whole", template / "photos", grid=grid).calibrated is True
    assert stored(index) == stored(tmp_path / "whole")


def test_a_kill_there_loses_the_calibration_only(
    template: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    index, log = tmp_path / "index", tmp_path / "log"
    program = [sys.executable, "-m", "tests.lifecycle.killed_run", str(index),
               str(template / "photos"), str(log), "25", "calibrate"]  # fmt: skip
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    try:
        while process.poll() is None and (not log.exists() or len(log.read_text().split()) < 10):
            pass
        assert process.poll() is None, "it ended before it was killed"
    finally:
        process.kill()
        process.wait()
    assert vectors(index) == vectors(template / "index") and stored(index) is None
    assert run(index, grid=grid).calibrated is True and faults(index) == []


# -- readers, damage -----------------------------------------------------------------------------


def test_an_open_reader_sees_it_at_its_next_query(index: Path, grid: GridEmbedder) -> None:
    with Index(str(index), GridEmbedder()) as opened:
        assert opened.query(1).hits[0].match is None and opened.calibration() is None
        run(index, grid=grid)
        assert opened.query(1).hits[0].match is not None and opened.calibration() is not None
        run(index, grid=grid, refit=True, calibrate=False)
        assert opened.query(1).hits[0].match is None
        run(index, grid=grid)
        assert opened.query(1).hits[0].match is not None and opened.notes == []


def put(index: Path, data: bytes) -> None:
    with CatalogWriter(str(index)) as catalog, catalog.writing():
        live = catalog.generation()
        assert live is not None
        catalog.set_calibration(live.id, data)


def other_dims() -> bytes:
    """A sound calibration of another embedder's features."""
    from cbir.query.match import Calibration, centre

    space = centre(np.ones((2, 7), np.float32))
    return Calibration(space, 0.5, np.array([0.0, 1.0]), np.array([0.0, 1.0])).to_bytes()


@pytest.mark.parametrize("data", [b"torn", other_dims()], ids=["torn", "other dims"])
def test_damage_is_found_and_mended(data: bytes, index: Path, grid: GridEmbedder) -> None:
    run(index, grid=grid)
    good = stored(index)
    put(index, data)
    assert faults(index) == ["calibration unreadable"] and info(str(index))["calibrated_on"] is None
    done = repair(str(index), embedder=grid).repaired
    assert done == ("calibration taken out; the next `cbir index` makes another",)
    assert faults(index) == [] and stored(index) is None
    assert run(index, grid=grid).calibrated is True and stored(index) == good


def test_a_run_mends_it_without_a_check(index: Path, grid: GridEmbedder) -> None:
    run(index, grid=grid)
    good = stored(index)
    put(index, b"torn")
    report = run(index, grid=grid, calibrate=False)
    assert report.derived is not None and not report.derived.written  # FAISS has no part in it
    assert run(index, grid=grid).calibrated is True and stored(index) == good


def test_a_folder_called_calibration_is_no_fault_of_it(tmp_path: Path, grid: GridEmbedder) -> None:
    index = tmp_path / "calibration"
    draw(tmp_path / "photos", range(3))
    run(index, tmp_path / "photos", grid=grid)
    for file in (index / "ann").iterdir():
        file.write_bytes(b"torn")
    kinds = [fault.kind for fault in check(str(index)).faults]
    assert "FAISS file corrupt" in kinds and "calibration unreadable" not in kinds


def test_no_network_library_is_imported_when_nothing_is_due(
    index: Path, grid: GridEmbedder
) -> None:
    run(index, grid=grid)
    code = (
        "import sys\n"
        "from cbir.lifecycle import sync\n"
        f"report = sync({str(index)!r})\n"
        "assert report.calibrated is None and report.unchanged == 50, report\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'skimage', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_embedder_that_is_not_there_is_no_error_where_nothing_is_embedded(index: Path) -> None:
    found = sync(str(index))  # no embedder is called test-grid
    assert found.calibrated is False and found.embedded == 0 and found.images == 50
    assert stored(index) is None
