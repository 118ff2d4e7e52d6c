"""`cbir benchmark probe` as a user meets it: folder, manifest, page, errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.cli.benchmark.probe_report import _ticks
from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]
ASKED = ("benchmark", "probe", "--embedder", "classical/colour")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


def test_a_manifest_with_both_parts(command: Run, sample: Sample) -> None:
    where = ("--manifest", sample.photos / "manifest.csv", "--train-where", "view!=original",
             "--test-where", "view=original")  # fmt: skip
    done = command(*ASKED, *where, "--per-class", "all,1,2", "--draws", 2, "--json")
    assert done.code == 0 and done.err == ""
    found = json.loads(done.out)
    assert (found["train"], found["test"], found["classes"]) == (144, 18, 18)
    assert found["short"] == {} and found["untrained"] == found["shared"] == 0
    sizes = [(row["head"], row["per_class"]) for row in found["results"]]
    assert sizes == [(h, n) for h in ("svm", "knn") for n in (1, 2, "all")]
    for row in found["results"]:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert row["images"] == {1: 18, 2: 36, "all": 144}[row["per_class"]]
        assert (row["spread"] is None) == (row["per_class"] == "all")
    first, last = found["results"][0], found["results"][2]
    assert 1 / 18 < first["accuracy"] < last["accuracy"] and last["accuracy"] > 0.8
    again = json.loads(command(*ASKED, *where, "--per-class", "1,2,all", "--draws", 2,
                               "--json").out)  # fmt: skip
    assert again["results"] == found["results"]


def test_a_folder_two_embedders_and_the_page(command: Run, sample: Sample, tmp_path: Path) -> None:
    page = tmp_path / "probe.html"
    done = command(*ASKED, "--embedder", "efficientnet-lite0", sample.photos, "--html", page,
                   "--per-class", "1,all", "--draws", 2)  # fmt: skip
    assert done.code == 0
    assert "half of each class: 90 training images, 72 test images, 18 classes" in done.out
    assert "linear SVM" in done.out and "k-NN" in done.out
    assert "efficientnet-lite0 with 1 image a class (" in done.out
    assert ") is at least as good as classical/colour with all 90 images (" in done.out
    assert ", classical/colour needs " in done.out
    assert "classical/colour 512-d, efficientnet-lite0 1280-d" in done.out
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text and "classical/colour, linear SVM" in text and "all (5)" in text


def test_the_default_embedders(command: Run, sample: Sample, tmp_path: Path) -> None:
    """A few pictures, so that the descriptor that learns is fitted in a moment."""
    table = tmp_path / "m.csv"
    with open(table, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label"))
        for name in ("moon", "coffee"):
            for view in sorted((sample.photos / name).iterdir())[:4]:
                rows.writerow((view, name))
    asked = ("benchmark", "probe", "--manifest", table, "--per-class", "1,5", "--json")
    found = json.loads(command(*asked, "--head", "knn").out)
    names = [(row["embedder"], row["head"]) for row in found["results"]]
    assert names == [("efficientnet-lite0", "knn")] * 2 + [("classical/combined", "knn")] * 2
    assert found["short"] == {"5": 2} and found["fewest"] == []
    said = command(*asked[:-1], "--head", "knn", "--embedder", "classical/colour").out
    assert "With 5 images a class, 2 classes have fewer than that" in said


def test_what_does_not_fit_is_said(command: Run, sample: Sample, tmp_path: Path) -> None:
    manifest = ("--manifest", sample.photos / "manifest.csv")
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "one.jpg").write_bytes(sample.view("moon").read_bytes())
    for arguments, word in (
        ((), "received neither"),
        ((sample.photos, *manifest), "received both"),
        ((*manifest, "--train-where", "view=original"), "expected both"),
        ((sample.photos, "--train-where", "a=b", "--test-where", "a=c"), "with --manifest"),
        ((*manifest, "--train-where", "view!=x", "--test-where", "view=original"), "18 are in"),
        ((*manifest, "--train-where", "label=moon", "--test-where", "label=coffee"), "none is"),
        ((*manifest, "--train-where", "x=1", "--test-where", "x=2"), "path, label, view"),
        ((sample.photos, "--per-class", "1,none"), "received 'none'"),
        ((sample.photos, "--per-class", "0"), "received '0'"),
        ((sample.photos, "--per-class", ""), "received ''"),
        ((sample.photos, "--head", "tree"), "one of svm, knn"),
        ((sample.photos, "--draws", "0"), "--draws"),
        ((flat,), "A class needs two images"),
    ):
        done = command(*ASKED, *arguments)
        assert done.code == 2 and word in done.err, (arguments, done.err)


def test_files_that_fail_and_images_that_are_in_both(
    command: Run, sample: Sample, tmp_path: Path
) -> None:
    table = tmp_path / "m.csv"
    original, grey = sample.view("moon"), sample.view("moon", "grey.png")
    (tmp_path / "copy.jpg").write_bytes(original.read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"<html>")
    table.write_text(
        f"path,label,part\n{original},moon,a\n{grey},moon,b\ncopy.jpg,moon,b\nbad.jpg,moon,a\n"
        f"{sample.view('coffee')},coffee,b\n"
    )
    where = ("--train-where", "part=a", "--test-where", "part=b", "--per-class", "1")
    done = command(*ASKED, "--manifest", table, *where, "--strict")
    assert done.code == 4 and "HTML" in done.err
    assert "1 test image of classes without a training image: left out." in done.out
    assert "1 test image also among the training images, byte for byte." in done.out
    assert "1.000 ±.000" in done.out


def test_the_combined_descriptor_takes_part_in_recall(command: Run, sample: Sample) -> None:
    """It has all others in it, and one that learns; the second run has it from the cache."""
    asked = ("benchmark", "recall", "--manifest", sample.photos / "manifest.csv", "--query-where",
             "view=warm", "--gallery-where", "view=original", "--embedder",
             "classical/combined", "--json")  # fmt: skip
    found = json.loads(command(*asked).out)
    assert found["embedder"]["backbone"] == "classical/combined"
    assert found["about"]["embedded"] == 36 and found["metrics"]["recall@1"] > 0.9
    again = json.loads(command(*asked).out)
    assert again["about"]["embedded"] == 0
    assert again["about"]["fingerprint"] == found["about"]["fingerprint"]
    assert again["metrics"] == found["metrics"]


def test_names_on_the_axis_do_not_overlap() -> None:
    assert _ticks({1: 1.0, 5: 5.0, 10: 8.0, 0: 8.0}) == (
        (1.0, "1"), (5.0, "5"), (8.0, "10, all (8)"),
    )  # fmt: skip
    assert _ticks({0: 307.0, 2: 2.0}) == ((2.0, "2"), (307.0, "all (307)"))
