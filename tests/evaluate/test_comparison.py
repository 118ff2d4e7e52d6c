"""A comparison from end to end: what is measured, what is kept, what is measured again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.catalog import FeatureCache
from cbir.config import IndexSpec
from cbir.errors import EmbedderError, UsageError
from cbir.evaluate import (
    CLASSICAL,
    Axes,
    Compare,
    Comparison,
    Watch,
    compare,
    from_folders,
    measure,
    summarise,
)
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder, picture

COUNTED = [0]


class Counted(GridEmbedder):
    """The tiny embedder under a classical name, which counts over all its objects."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, backbone="classical/grid")

    def features(self, pixels: Pixels) -> Vectors:
        COUNTED[0] += len(pixels)
        return super().features(pixels)


class Failing(Counted):
    """One that cannot be run."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, backbone="classical/failing")
        self.fingerprint = "failing"

    def features(self, pixels: Pixels) -> Vectors:
        raise EmbedderError("its weights are damaged")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two more classical descriptors: what is registered takes part, without a change."""
    monkeypatch.setitem(CLASSICAL, "classical/grid", Counted)  # type: ignore[arg-type]
    monkeypatch.setitem(CLASSICAL, "classical/failing", Failing)  # type: ignore[arg-type]
    monkeypatch.setattr("cbir.evaluate.comparison.SAMPLE", 16)
    for room in ("embed.projection", "evaluate.comparison"):  # a projection for few pictures
        monkeypatch.setattr(f"cbir.{room}.FIT_AT", 30)
    COUNTED[0] = 0
    return


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures of five kinds."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for kind in range(5):
        (folder / f"{kind:02d}").mkdir()
        base = np.asarray(picture(kind, (16, 16)), np.int64)
        for i in range(8):
            noisy = np.clip(base + rng.normal(0, 60, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{kind:02d}" / f"{i:02d}.bmp")
    return folder


AXES = Axes(("classical/grid",), dims=(3, 8), projections=("pca", "none"))


def run(folder: Path, out: Path, axes: Axes = AXES, laps: int = 2) -> Comparison:
    made = Compare(from_folders(str(folder)), axes, str(out), laps=laps)
    made.run()
    return made.result()


def plain(found: Comparison) -> str:
    return json.dumps([[row.system, row.summary.metrics, row.difference, row.front,
                        row.images_per_second, row.search_ms, row.alone_ms]
                       for row in found.rows])  # fmt: skip


def test_rows_are_what_each_system_gives_alone(classes: Path, tmp_path: Path) -> None:
    found = run(classes, tmp_path)
    assert {row.system for row in found.rows} == {
        "classical/grid, pca 3", "classical/grid, pca 8", "classical/grid, raw",
        "classical/colour, raw",
    }  # fmt: skip
    assert found.fitted and not found.problems and not found.failures
    truth = from_folders(str(classes))
    alone = {}
    for row in found.rows:
        done = measure(truth, row.candidate.load(), row.spec)
        alone[row.system] = done.answers
        assert summarise(done.answers) == row.summary
        assert row.about["dims"] == {"classical/colour, raw": 512, "classical/grid, raw": 48}.get(
            row.system, row.spec.dims
        )
        head = row.bytes_per_image - (4 * row.about["dims"] + 8)  # a number, an id, the file's head
        assert 0 <= head < 4
        assert row.feature_bytes == 2 * (512 if "colour" in row.system else 48) + 2
        assert row.images_per_second > 0 and row.search_ms > 0 and row.alone_ms > 0
    quality = [row.summary.metrics["mAP"] for row in found.rows]
    assert quality == sorted(quality, reverse=True) and any(row.front for row in found.rows)
    # no default system is in this grid: the first one is the baseline
    assert found.baseline == "classical/grid, pca 3"
    for row in found.rows:
        if row.system == found.baseline:
            assert row.difference is None
        else:
            assert row.difference == compare(alone[found.baseline], alone[row.system], "mAP")


def test_a_second_run_measures_nothing_and_says_the_same(classes: Path, tmp_path: Path) -> None:
    first = run(classes, tmp_path)
    # 40 once, and in each of two laps: a warm-up of at most 32, the sample, and some alone
    assert COUNTED[0] == 40 + 2 * (16 + 16 + 17)
    assert plain(run(classes, tmp_path)) == plain(first) and COUNTED[0] == 138
    more = replace(AXES, dims=(3, 8, 12))
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        made = Compare(from_folders(str(classes)), more, str(tmp_path), laps=2)
        assert [cell.name for cell in made.cells if not made.done(cell)] == [
            "classical/grid, pca 12"
        ]
        made.run(cache)
    assert COUNTED[0] == 138 + 40  # its features are new to this cache, its speed is known
    kept = {row.system: row for row in first.rows}
    for row in made.result().rows:
        if row.system in kept:
            assert row.summary == kept[row.system].summary
            assert row.images_per_second == kept[row.system].images_per_second


def test_an_interrupted_run_goes_on(classes: Path, tmp_path: Path) -> None:
    def interrupt(name: str, total: int) -> None:
        if name.endswith("colour"):
            raise KeyboardInterrupt

    truth, out = from_folders(str(classes)), str(tmp_path)
    made = Compare(truth, AXES, out, Watch(stage=interrupt), laps=2)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    before = COUNTED[0]
    assert before == 40 + 49 and sum(made.done(cell) for cell in made.cells) == 0
    again = Compare(truth, AXES, out, laps=2)
    again.run()
    assert all(map(again.done, again.cells)) and COUNTED[0] == before + 49
    other = run(classes, tmp_path / "other")
    assert [r.summary for r in again.result().rows] == [r.summary for r in other.rows]


def test_what_changed_is_measured_again(classes: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for kind in ("00", "01"):
        (small / kind).mkdir(parents=True)
        for file in sorted((classes / kind).iterdir())[:6]:
            (small / kind / file.name).write_bytes(file.read_bytes())
    axes = Axes(("classical/grid",))
    run(small, tmp_path / "out", axes, laps=1)
    once = COUNTED[0]
    (small / "00" / "00.bmp").rename(small / "00" / "99.bmp")  # the order of the pictures changes
    run(small, tmp_path / "out", axes, laps=1)
    assert COUNTED[0] == 2 * once
    picture(77).save(small / "01" / "00.bmp")
    run(small, tmp_path / "out", axes, laps=1)
    assert COUNTED[0] == 3 * once
    moved = small.rename(tmp_path / "moved")
    found = run(moved, tmp_path / "out", axes, laps=1)
    assert COUNTED[0] == 3 * once and not found.fitted
    assert [row.system for row in found.rows if "grid" in row.system] == ["classical/grid, raw"]


def test_an_embedder_that_fails_is_a_row_that_says_why(classes: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    axes = Axes(("classical/failing", str(empty), "classical/grid"), projections=("none",))
    found = run(classes, tmp_path / "out", axes, laps=1)
    assert [row.system for row in found.rows] == ["classical/grid, raw", "classical/colour, raw"]
    reasons = {problem.name: problem.reason for problem in found.problems}
    assert reasons["classical/failing"] == "its weights are damaged"
    assert "holds no embedder" in reasons[str(empty)]


def test_pictures_that_cannot_be_used_are_said_each_time(classes: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for kind in ("00", "01"):
        (small / kind).mkdir(parents=True)
        for file in sorted((classes / kind).iterdir())[:4]:
            (small / kind / file.name).write_bytes(file.read_bytes())
    (small / "01" / "bad.jpg").write_bytes(b"<html>")
    for _ in range(2):
        found = run(small, tmp_path / "out", Axes(("classical/grid",)), laps=1)
        assert [Path(f.path).name for f in found.failures] == ["bad.jpg"]
        assert "HTML" in found.failures[0].reason
        assert found.rows[0].summary.queries == 8


def test_what_cannot_be_compared_is_said_before_anything_is_embedded(
    classes: Path, tmp_path: Path
) -> None:
    made = Compare(from_folders(str(classes)), AXES, str(tmp_path))
    with pytest.raises(UsageError, match="recall@1"):
        made.check("nonsense", None)
    with pytest.raises(UsageError, match="classical/grid, pca 3; classical/grid, pca 8"):
        made.result(baseline="resnet50")
    assert made.result(baseline="classical/grid, raw").rows == ()
    truth = replace(from_folders(str(classes)), paths=(str(tmp_path / "nowhere"),) * 40)
    with pytest.raises(UsageError, match="no picture of the protocol can be read"):
        Compare(truth, AXES, str(tmp_path))
    assert COUNTED[0] == 0


def test_by_another_metric_and_baseline(classes: Path, tmp_path: Path) -> None:
    made = Compare(from_folders(str(classes)), AXES, str(tmp_path), laps=1)
    made.run()
    found = made.result("recall@1", "classical/grid, raw")
    (base,) = (row for row in found.rows if row.difference is None)
    assert base.system == "classical/grid, raw" == found.baseline
    for row in found.rows:
        if row.difference is not None:
            gain = row.summary.metrics["recall@1"] - base.summary.metrics["recall@1"]
            assert row.difference[0] == pytest.approx(gain)
            assert row.difference[1] <= row.difference[0] <= row.difference[2]
    assert not any(math.isnan(v) for row in found.rows for v in row.values.values())
    assert IndexSpec(3, kind="flat") in {row.spec for row in found.rows}


def test_one_that_learns_is_fitted_once_and_goes_on(classes: Path, tmp_path: Path) -> None:
    """Its identity is its recipe; its answers name the fitted fingerprint."""
    truth, axes = from_folders(str(classes)), Axes(("classical/sift-fv",))
    folder = str(tmp_path / "kept")
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        first = Compare(truth, axes, folder, laps=1)
        first.run(cache)
        again = Compare(truth, axes, folder, laps=1)
        assert all(again.done(cell) for cell in again.cells)
        assert cache.db.execute("SELECT count(*) FROM fits").fetchone()[0] == 1
    result = first.result()
    (row,) = (row for row in result.rows if row.candidate.source == "classical/sift-fv")
    assert not result.problems and row.about["fingerprint"].startswith("classical/sift-fv-")
    assert row.feature_bytes > 1000 and row.images_per_second > 0
