"""The match as a user meets it: shown, asked for, missing, measured."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """An index of too few pictures to be calibrated."""
    from cbir.cli import run

    index = tmp_path_factory.mktemp("tiny") / "index"
    assert run(["index", str(sample.photos / "coffee"), "-i", str(index), "--no-calibrate"]) == 0
    return index


def test_info_says_so(command: Run, sample: Sample, tiny: Path) -> None:
    assert "calibrated on 162 pictures" in command("info", "-i", sample.index).out
    assert "not calibrated" in command("info", "-i", tiny).out
    assert json.loads(command("info", "-i", sample.index, "--json").out)["calibrated_on"] == 162


def test_a_second_run_does_not_calibrate(command: Run, sample: Sample) -> None:
    again = command("index", "-i", sample.index)
    assert again.code == 0 and "calibrated" not in again.out
    told = json.loads(command("index", "-i", sample.index, "--json").out.split("\n}")[0] + "}")
    assert told["calibrated"] is None and told["calibration_s"] == 0


def test_nothing_matches(command: Run, sample: Sample, tmp_path: Path) -> None:
    asked = ("query", sample.view("coffee"), "-i", sample.index, "--where", "label=chelsea",
             "--min-match", 0.95)  # fmt: skip
    done = command(*asked)
    assert done.code == 0 and "0 hits" in done.out
    assert "no match in this gallery at 95% or above; nearest: " in done.out
    failed = command(*asked, "--fail-empty")
    assert failed.code == 1 and failed.out.splitlines()[-1] == done.out.splitlines()[-1]
    found = json.loads(command(*asked, "--json").out)
    assert found["hits"] == [] and found["min_match"] == 0.95
    assert found["nearest"]["rank"] == 1 and found["nearest"]["match"] < 0.95
    assert command(*asked, "--paths").raw == command(*asked, "-0").raw == b""
    assert command(*asked, "--csv").out.count("\n") == 1
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert command(*asked, "--html", page, "--sheet", sheet).code == 0
    assert "No match in this gallery at 95% or above" in page.read_text(encoding="utf-8")
    with Image.open(sheet) as image:
        right = np.asarray(image.convert("L"))[:, image.width // 2 :]
        assert right.min() < 160  # words, where hits would be


def test_what_matches_is_shown(command: Run, sample: Sample) -> None:
    query = sample.view("coffee")
    rows = list(csv.DictReader(io.StringIO(command("query", query, "-i", sample.index, "-k", 50,
                                                   "--csv").out)))  # fmt: skip
    matches = [float(row["match"]) for row in rows]
    assert matches == sorted(matches, reverse=True) and 0 <= matches[-1] <= matches[0] <= 1
    least = round(matches[2], 3) - 0.001
    kept = command("query", query, "-i", sample.index, "-k", 50, "--paths",
                   "--min-match", least).out.splitlines()  # fmt: skip
    assert kept == [row["path"] for row, m in zip(rows, matches, strict=True) if m >= least]
    assert 3 <= len(kept) < 50
    table = command("query", query, "-i", sample.index, "-k", 3).out
    assert "rank  score  match  path\n" in table and "%" in table


@pytest.mark.parametrize("value", ["-0.1", "1.5", "much"])
def test_a_match_is_from_0_to_1(value: str, command: Run, sample: Sample) -> None:
    done = command("query", sample.view("coffee"), "-i", sample.index, "--min-match", value)
    assert done.code == 2 and "--min-match" in done.err and done.out == ""


def test_together_with_combine(command: Run, sample: Sample) -> None:
    done = command("query", sample.view("coffee"), sample.view("chelsea"), "-i", sample.index,
                   "--combine", "--min-match", 0.5)  # fmt: skip
    assert done.code == 2 and "expected without --combine" in done.err and done.out == ""


def test_an_index_without_calibration(command: Run, sample: Sample, tiny: Path) -> None:
    done = command("query", sample.view("coffee"), "-i", tiny, "--min-match", 0.5)
    assert done.code == 2 and done.out == "" and done.err.startswith("Error: --min-match: ")
    assert "40 different pictures" in done.err and "--min-score" in done.err
    assert "match" not in command("query", sample.view("coffee"), "-i", tiny).out
    measured = command("benchmark", "match", "-i", tiny)
    assert measured.code == 2 and "is not calibrated" in measured.err and measured.out == ""


def test_the_benchmark_of_an_index(command: Run, sample: Sample) -> None:
    done = command("benchmark", "match", "-i", sample.index)
    assert done.code == 0 and "162 pictures in the gallery" in done.out
    for words in ("min-match", "Edited copies answered at .90, by edit", "(before)", "(after)"):
        assert words in done.out
    assert "equal labels" not in done.out


def test_the_benchmark_of_a_folder(command: Run, sample: Sample) -> None:
    found = json.loads(command("benchmark", "match", sample.photos, "--json").out)
    assert found["images"] == found["without_a_copy"] == 162 and found["labelled"]["bins"]
    assert set(found["edited_copies_answered"]) == {"0.5", "0.9", "0.95", "0.99"}
    after, before = (found[name]["expected_calibration_error"] for name in ("after", "before"))
    assert after < before
    assert sum(b["hits"] for b in found["after"]["bins"]) == 2 * found["edited_copies"]


def test_the_benchmark_of_too_few(command: Run, sample: Sample) -> None:
    done = command("benchmark", "match", sample.photos, "--gallery-where", "path~coffee/*")
    assert done.code == 2 and done.out == ""
