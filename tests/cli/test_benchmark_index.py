"""`cbir benchmark recall` on an index and by self-made queries, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]
DATE = re.compile(r"Made by cbir \S+ on [\d-]+ [\d:]+\.")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


def recall(command: Run, *more: object) -> Done:
    return command("benchmark", "recall", *more)


def test_an_index_is_measured_as_its_manifest_is(
    command: Run, sample: Sample, tmp_path: Path
) -> None:
    where = ("--query-where", "view=original", "--gallery-where", "view!=original")
    out, page = tmp_path / "out", tmp_path / "page.html"
    done = recall(command, "-i", sample.index, *where, "--json", "-o", out, "--html", page)
    found = json.loads(done.out)
    assert done.code == 0 and found["about"]["labels"] == "column label"
    plain = json.loads(
        recall(command, "--manifest", sample.photos / "manifest.csv", *where, "--json").out
    )
    assert (found["queries"], found["gallery"]) == (18, 144)
    assert found["floor"] == plain["floor"] and found["about"]["embedded"] == 0
    # The index holds too few pictures for a projection: both rank raw features.
    assert found["metrics"] == plain["metrics"] and found["system"] == plain["system"]
    again = json.loads(recall(command, "--rescore", out, "--json").out)
    assert again["metrics"] == found["metrics"] and again["floor"] == found["floor"]
    html = page.read_text(encoding="utf-8")
    assert "column label" in html and html.count("<svg") == 3
    table = recall(command, "-i", sample.index, "--no-floor")
    assert "162 queries; 162 images in the gallery; labels: column label" in table.out
    assert "No floor: --no-floor was given." in table.out and table.err == ""
    assert "leave one out" in table.out
    other = recall(command, "-i", sample.index, "--label", "view", "--no-floor").out
    assert "labels: column view" in other


def test_a_manifest_asks_an_index_only_where_it_is_named(
    command: Run, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBIR_INDEX", str(sample.index))
    asked = ("--manifest", sample.photos / "manifest.csv", "--query-where", "view=original",
             "--no-floor", "--json")  # fmt: skip
    alone = json.loads(recall(command, *asked).out)
    named = json.loads(recall(command, *asked, "-i", sample.index).out)
    assert "labels" not in alone["about"] and alone["gallery"] == 162
    assert named["protocol"] == "manifest.csv view=original in index index"
    assert named["gallery"] == 162 and named["about"]["embedded"] == 0
    assert named["metrics"] == alone["metrics"]  # each original is left out of its own answer
    assert "index index" in json.loads(recall(command, "--no-floor", "--json").out)["protocol"]


def test_neither_floor_nor_files_are_needed(command: Run, sample: Sample, tmp_path: Path) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    for name in ("coffee", "moon"):
        shutil.copytree(sample.photos / name, photos / name)
    assert command("index", photos, "-i", index).code == 0
    whole = json.loads(recall(command, "-i", index, "--json").out)
    assert whole["about"]["labels"] == "parent folder" and whole["queries"] == 18
    for file in (photos / "moon").iterdir():
        file.unlink()
    some = recall(command, "-i", index)
    assert "The floor leaves out 9 pictures that cannot be read any more." in some.out
    assert some.code == 0 and "moon" in some.err
    assert recall(command, "-i", index, "--strict").code == 4
    shutil.rmtree(photos)
    page = tmp_path / "page.html"
    none = recall(command, "-i", index, "--json", "--html", page, "-o", tmp_path / "out")
    found = json.loads(none.out)
    assert found["metrics"] == whole["metrics"] and none.code == 0
    assert found["floor"]["absent"] == "none of its pictures can be read"
    assert set(found["floor"]["metrics"].values()) == {None}
    assert "No floor: none of its pictures can be read." in page.read_text(encoding="utf-8")
    assert "No floor" in recall(command, "--rescore", tmp_path / "out").out


def test_an_index_asks_itself_without_tensorflow(sample: Sample, tmp_path: Path) -> None:
    code = (
        "import sys; from cbir.cli import run; code = run(sys.argv[1:]);"
        "bad = {'tensorflow', 'keras', 'openvino'} & set(sys.modules);"
        "sys.exit(f'{code} {bad}' if code or bad else 0)"
    )
    asked = ("benchmark", "recall", "-i", str(sample.index), "-o", str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "classical/colour" in done.stdout


def test_what_does_not_go_together_is_said(
    command: Run, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index, photos, manifest = sample.index, sample.photos, sample.photos / "manifest.csv"
    for arguments, code, word in (
        ((), 2, "there is no index at index_data"),
        ((photos, "-i", index), 2, "received FOLDER too"),
        (("-i", index, "--dims", 8), 2, "received --dims too"),
        (("-i", index, "--embedder", "resnet50"), 2, "received --embedder too"),
        (("-i", index, "--groups", 9), 2, "received --groups too"),
        (("-i", index, "--label", "x"), 2, "label, view"),
        (("-i", index, "--query-where", "x=1"), 2, "received 'x'"),
        (("-i", tmp_path / "none"), 3, "No index"),
        ((photos, "--label", "x"), 2, "--label: expected together with --manifest"),
        (("--self-queries", "-i", index, "--dims", 8), 2, "received --dims too"),
        (("--self-queries", "-i", index, photos), 2, "received 2"),
        (("--self-queries", photos, "--manifest", manifest), 2, "received 2"),
        (("--self-queries", photos, "--gallery-where", "a=b"), 2, "received FOLDER"),
        (("--self-queries", photos, "--query-where", "a=b"), 2, "--query-where too"),
        (("--self-queries", photos, "--groups", 4), 2, "--groups too"),
        (("--self-queries", "--manifest", manifest, "--gallery-where", "x=1"), 2, "path, label"),
        (("--self-queries", tmp_path), 2, "has none"),
        (("--self-queries", "--rescore", tmp_path), 2, "self-queries.json"),
        (("--self-queries", photos, "--html", tmp_path / "no" / "p.html"), 2, "--html"),
    ):
        done = recall(command, *arguments)
        assert done.code == code and word in done.err, (arguments, done.err)


def test_self_queries_of_a_folder_a_manifest_and_an_index(command: Run, sample: Sample) -> None:
    few = ("--self-queries", "--sample", 3, "--json")
    cheap = ("--embedder", "classical/colour", "--projection", "none")
    folder = json.loads(recall(command, sample.photos, *few, *cheap).out)
    table = sample.photos / "manifest.csv"
    whole = json.loads(recall(command, "--manifest", table, *few, *cheap).out)
    part = json.loads(
        recall(command, "--manifest", table, "--gallery-where", "view=original", *few, *cheap).out
    )
    assert folder["edits"] == whole["edits"] and folder["of"] == whole["of"] > 100
    assert part["of"] == 18 and part["images"] == 3
    # The floor is the system here, so both columns say the same.
    assert all(e["recall@1"] == e["floor_recall@1"] for e in folder["edits"].values())
    assert set(folder["kinds"]) == {"part", "turn", "light", "colour", "quality", "addition"}
    index = json.loads(recall(command, *few, "--sample", 1, "-i", sample.index, "--no-floor").out)
    assert index["of"] == folder["of"] and index["gallery"] == "index index"
    assert index["floor_recall@1"] is None and 0.5 < index["recall@1"] <= 1


def test_self_queries_are_kept_and_shown_again(
    command: Run, sample: Sample, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("coffee", "moon", "rocket"):
        shutil.copytree(sample.photos / name, photos / name)
    cheap = ("--self-queries", "--sample", 6, "--embedder", "classical/colour")
    first, again = tmp_path / "first.html", tmp_path / "again.html"
    (photos / "bad.jpg").write_bytes(b"<html>")
    done = recall(command, photos, *cheap, "-o", out, "--html", first)
    assert done.code == 0 and "Report: " in done.err and "bad.jpg" in done.err
    assert "Hurt most: " in done.out and "floor@1" in done.out
    kept = recall(command, "--rescore", out, "--html", again)
    assert kept.out == done.out == recall(command, "--self-queries", "--rescore", out).out
    pages = [file.read_text(encoding="utf-8") for file in (first, again)]
    assert DATE.search(pages[0]) and DATE.sub("", pages[0]) == DATE.sub("", pages[1])
    assert "<script" not in pages[0] and pages[0].count("data:image/jpeg;base64,") >= 3 * 4
    assert recall(command, photos, *cheap, "--strict").code == 4
    moved = tmp_path / "moved"
    photos.rename(moved)
    grey = recall(command, "--rescore", out, "--html", again)
    assert "are grey in the report" in grey.err
    found = recall(command, moved, "--rescore", out, "--html", again)
    assert "grey" not in found.err and found.code == 0
