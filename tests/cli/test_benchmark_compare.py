"""`cbir benchmark compare` on the sample gallery: the table, JSON, the page, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cbir.cli.benchmark.compare import compare_command, values_of
from cbir.cli.benchmark.compare_output import milliseconds, rate
from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests of this file, so that the network embeds once."""
    return tmp_path_factory.mktemp("cache") / "features.sqlite"


@pytest.fixture(autouse=True)
def settings(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(cache))
    monkeypatch.setattr("cbir.evaluate.comparison.SAMPLE", 8)
    for room in ("embed.projection", "evaluate.comparison"):
        monkeypatch.setattr(f"cbir.{room}.FIT_AT", 100)  # the sample has 144 in its gallery


@pytest.fixture
def compare(command: Run, sample: Sample, tmp_path: Path) -> Run:
    """The command on the sample: originals asked, other views found."""
    asked = ("benchmark", "compare", "--manifest", sample.photos / "manifest.csv", "--query-where",
             "view=original", "--gallery-where", "view!=original", "--laps", 1)  # fmt: skip

    def made(*more: object) -> Done:
        out = () if "-o" in more else ("-o", tmp_path / "out")
        return command(*asked, *out, *more)

    return made


def rows(done: Done) -> Mapping[str, Any]:
    return {row["system"]: row for row in json.loads(done.out)["systems"]}


LITE0 = "efficientnet-lite0"


def test_a_grid_once_and_again(compare: Run, tmp_path: Path) -> None:
    asked = ("--embedder", LITE0, "--dims", 16, "--dims", "8,16", "--projection", "pca,none")
    planned = compare(*asked, "--dry-run")
    assert planned.code == 0 and not (tmp_path / "out").exists()
    assert "4 systems of 2 embedders, 0 of them finished before" in planned.out
    assert planned.out.count("to measure") == 4
    done = compare(*asked, "--json")
    found = json.loads(done.out)
    assert done.code == 0 and "4 systems of 2 embedders" in done.err
    assert (found["queries"], found["gallery"], found["by"]) == (18, 144, "mAP")
    systems = rows(done)
    assert set(systems) == {
        f"{LITE0}, pca 16", f"{LITE0}, pca 8", f"{LITE0}, raw", "classical/colour, raw",
    }  # fmt: skip
    raw, floor = systems[f"{LITE0}, raw"], systems["classical/colour, raw"]
    assert raw["metrics"]["mAP"] > 0.95 > floor["metrics"]["mAP"]
    assert raw["dims"] == 1280 and 5128 <= raw["bytes_per_image"] < 5132
    assert raw["feature_bytes"] == 2562 and raw["embedder"]["resize"] == "squash"
    for row in systems.values():
        low, high = row["intervals"]["mAP"]
        assert low <= row["metrics"]["mAP"] <= high
        assert min(row[k] for k in ("images_per_second", "query_embedding_ms",
                                    "ms_per_query")) > 0  # fmt: skip
    assert systems[found["baseline"]]["difference"] is None
    assert floor["difference"]["mean"] < 0 > floor["difference"]["interval"][1]
    assert found["front"]["systems"] == [s for s, row in systems.items() if row["front"]] != []
    again = compare(*asked, "--json")
    assert again.out == done.out and "4 of them finished before" in again.err
    assert compare(*asked, "--dry-run", "--json").out.count('"kept"') == 4
    table = compare(*asked, "--baseline", f"{LITE0}, raw", "--by", "MAP@R")
    assert "(the baseline)" in next(x for x in table.out.splitlines() if f"{LITE0}, raw" in x)
    assert "MAP@R and 95 % interval" in table.out and "18 queries; 144 images" in table.out
    page = tmp_path / "page.html"
    assert compare(*asked, "--html", page).code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 4 and "Not drawn: 4 classical/colour, raw" in html


def test_other_weights_under_the_same_name_are_measured_again(compare: Run, tmp_path: Path) -> None:
    asked = ("--embedder", LITE0, "--projection", "none")
    first = compare(*asked, "--json")
    (file,) = (tmp_path / "out").glob(f"{LITE0}-raw-*.json")
    kept = json.loads(file.read_text())
    real = kept["about"]["fingerprint"]
    kept["about"]["fingerprint"] = "0" * 32
    file.write_text(json.dumps(kept))
    assert rows(compare(*asked, "--json"))[f"{LITE0}, raw"]["fingerprint"] == "0" * 32
    # nothing was loaded, so nothing was noticed; another length makes the network be loaded
    later = rows(compare(*asked, "--projection", "pca", "--dims", 8, "--json"))
    assert later[f"{LITE0}, raw"]["fingerprint"] == real
    assert rows(first)[f"{LITE0}, raw"]["metrics"] == later[f"{LITE0}, raw"]["metrics"]


def test_embedders_that_cannot_be_used(compare: Run, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    done = compare("--embedder", folder, "--json")
    assert done.code == 5 and "Not measured" in done.err and "holds no embedder" in done.err
    found = json.loads(done.out)
    assert found["not_measured"][0]["embedder"] == str(folder)
    assert [row["system"] for row in found["systems"]] == ["classical/colour, raw"]
    both = ("--embedder", folder, "--embedder", "classical/colour")
    assert compare(*both).code == 0 and compare(*both, "--strict").code == 4
    page = tmp_path / "page.html"
    assert compare("--embedder", folder, "--html", page).code == 5
    assert "holds no embedder" in page.read_text(encoding="utf-8")


def test_what_is_kept_without_a_folder_lies_beside_the_cache(
    command: Run, sample: Sample, cache: Path
) -> None:
    done = command("benchmark", "compare", sample.photos, "--embedder", "classical/colour",
                   "--projection", "none", "--laps", 1)  # fmt: skip
    kept = cache.with_suffix(".compare")
    assert done.code == 0 and str(kept) in done.err
    assert sorted(f.name.split("-")[0] for f in kept.iterdir()) == ["classical", "speed"]
    assert "162 queries" in done.out and "fewer than 500" not in done.out


def test_files_that_fail_are_listed(command: Run, sample: Sample, tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    good = [f"{sample.view('moon')},moon", f"{sample.view('moon', 'grey.png')},moon"]
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    table.write_text("path,label\n" + "\n".join([*good, "bad.jpg,moon"]) + "\n")
    asked = ("benchmark", "compare", "--manifest", table, "--embedder", "classical/colour",
             "-o", tmp_path / "out", "--laps", 1)  # fmt: skip
    for _ in range(2):  # the second time from what is kept
        done = command(*asked, "--strict")
        assert done.code == 4 and "HTML" in done.err and "2 queries" in done.out
    assert "no projection" in done.out and "is fitted" in done.out
    assert [row["path"] for row in json.loads(command(*asked, "--json").out)["skipped"]] == [
        str(tmp_path / "bad.jpg")
    ]


def test_what_does_not_fit_is_said_before_anything_is_measured(
    compare: Run, command: Run, tmp_path: Path
) -> None:
    for arguments, word in (
        (("--resize", "squash,stretch"), "expected one of squash, crop, pad"),
        (("--projection", ""), "expected one of pca, none"),
        (("--pooling", "max"), "expected one of gap"),
        (("--index-kind", "ivf"), "expected one of flat"),
        (("--dims", "64,x"), "whole numbers from 1 to 65536"),
        (("--dims", "0"), "whole numbers from 1"),
        (("--input-size", "4"), "whole numbers from 8 to 4096"),
        (("--embedder", "no-such-net"), "expected a backbone"),
        (("--embedder", "classical/colour", "--by", "map"), "expected one of recall@1"),
        (("--embedder", "classical/colour", "--baseline", "x"), "expected a system of the grid"),
        (("--laps", "0"), "x>=1"),
        (("--weights", "resnet50"), "expected NAME=FILE"),
        (("--embedder", "resnet50", "--weights", "resnet50=nowhere"), "there is none at nowhere"),
    ):
        done = compare(*arguments)
        assert done.code == 2 and word in done.err, arguments
    assert command("benchmark", "compare").code == 2
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    done = compare("--embedder", "classical/colour", "-o", tmp_path / "file")
    assert done.code == 5 and "--output" in done.err
    done = compare("--embedder", "classical/colour", "--html", tmp_path / "none" / "x.html")
    assert done.code == 2 and "existing folder" in done.err


def test_the_help_names_every_value() -> None:
    helps = {p.opts[-1]: p.help or "" for p in compare_command.params if hasattr(p, "help")}
    for axis in ("resize", "projection", "pooling", "index-kind"):
        for value in values_of(axis):
            assert value in helps[f"--{axis}"], f"--{axis}: the help does not name {value}"


def test_numbers() -> None:
    nan = float("nan")
    assert [milliseconds(v) for v in (0.061, 9.994, 31.26, 1234.5, nan)] == [
        "0.06", "9.99", "31.3", "1,234", "-",
    ]  # fmt: skip
    assert [rate(v) for v in (3.14159, 98.6, 1234.5, nan)] == ["3.1", "99", "1,234", "-"]
