"""`cbir benchmark recall` on the sample gallery: every source, stored answers, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


def test_a_manifest_and_stored_answers(command: Run, sample: Sample, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("benchmark", "recall", "--manifest", sample.photos / "manifest.csv", "--query-where",
             "view=original", "--gallery-where", "view!=original")  # fmt: skip
    done = command(*asked, "-o", out, "--json")
    found = json.loads(done.out)
    assert done.code == 0 and done.err == ""
    assert {"protocol", "embedder", "queries", "gallery", "metrics", "intervals", "floor"} <= set(
        found
    )
    assert found["queries"] == 18 and found["gallery"] == 144
    assert found["metrics"]["recall@1"] == 1 and found["metrics"]["mAP"] > 0.98
    assert found["floor"]["metrics"]["mAP"] < 0.9
    low, high = found["intervals"]["mAP"]
    assert low <= found["metrics"]["mAP"] <= high
    assert found["about"]["embedded"] == 162
    again = json.loads(command("benchmark", "recall", "--rescore", out, "--json").out)
    assert again["metrics"] == found["metrics"] and again["intervals"] == found["intervals"]
    table = command(*asked).out
    assert "18 queries; 144 images in the gallery" in table and "classical/colour, raw" in table
    cached = json.loads(command(*asked, "--json").out)
    assert cached["about"]["embedded"] == 0 and cached["metrics"] == found["metrics"]


def test_folders_groups_and_options(command: Run, sample: Sample) -> None:
    asked = ("benchmark", "recall", sample.photos, "--json", "--embedder", "classical/colour")
    found = json.loads(command(*asked, "--projection", "none").out)
    assert found["queries"] == 162 and found["metrics"] == found["floor"]["metrics"]
    assert json.loads(command(*asked, "--dims", 8).out)["queries"] == 162
    found = json.loads(command(*asked, "--groups", 9).out)
    assert found["gallery"] == 162 and 1 < found["metrics"]["N-S"] <= 9
    assert 0 < found["intervals"]["N-S"][0] <= found["metrics"]["N-S"]
    assert "multiple of 4" in command(*asked, "--groups", 4).err


def test_landmarks(command: Run, sample: Sample) -> None:
    names = [f"coffee/{p.name}" for p in sorted((sample.photos / "coffee").iterdir())]
    data = {
        "gallery": names + ["moon/original.jpg"],
        "queries": [{"image": "rocket/original.jpg", "box": [5, 5, 90, 90], "easy": names[:1],
                     "hard": names[1:3], "junk": []},
                    {"image": names[3], "ok": names[:3]}],
    }  # fmt: skip
    file = sample.photos / "gnd.json"
    file.write_text(json.dumps(data))
    try:
        asked = ("benchmark", "recall", "--landmarks", file, "--json")
        for level in ("easy", "medium", "hard"):
            found = json.loads(command(*asked, "--difficulty", level).out)
            assert found["queries"] == 2 and found["gallery"] == 10
    finally:
        file.unlink()


def test_what_is_missing_is_said(command: Run, sample: Sample, tmp_path: Path) -> None:
    manifest = sample.photos / "manifest.csv"
    for arguments, code, word in (
        ((), 2, "expected one of FOLDER"),
        ((sample.photos, "--manifest", manifest), 2, "received 2"),
        ((sample.photos, "--query-where", "a=b"), 2, "together with --manifest"),
        (("--manifest", manifest, "--query-where", "x=1"), 2, "path, label, view"),
        (("--rescore", tmp_path), 2, "answers.json"),
        ((tmp_path / "none",), 2, "does not exist"),
    ):
        done = command("benchmark", "recall", *arguments)
        assert done.code == code and word in done.err, arguments


def test_files_that_fail_are_listed(command: Run, sample: Sample, tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    rows = [f"{sample.view('moon')},moon", f"{sample.view('moon', 'grey.png')},moon"]
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    table.write_text("path,label\n" + "\n".join([*rows, "bad.jpg,moon"]) + "\n")
    done = command("benchmark", "recall", "--manifest", table, "--strict", "--json")
    assert done.code == 4 and "HTML" in done.err and json.loads(done.out)["queries"] == 2


def test_self_queries_need_no_labels(command: Run, sample: Sample, tmp_path: Path) -> None:
    asked = ("benchmark", "recall", "--self-queries", "-i", sample.index)
    found = json.loads(command(*asked, "--sample", 6, "--json", "-o", tmp_path).out)
    assert found["images"] == 6 and found["edits"]["jpeg-30"]["recall@10"] > 0.8
    assert 0.5 < found["recall@1"] <= 1 and len(found["edits"]) > 20
    assert found["floor_recall@1"] < found["recall@1"]
    table = command("benchmark", "recall", "--rescore", tmp_path).out
    assert "index index: 6 pictures of" in table and "turn-90" in table
    bad = command(*asked, "--embedder", "resnet50")
    assert bad.code == 2 and "received --embedder too" in bad.err
    bad = command("benchmark", "recall", "--self-queries", "-i", sample.photos)
    assert bad.code == 3
