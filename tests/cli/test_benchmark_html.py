"""`cbir benchmark recall --html`: first run, stored answers, moved pictures, every protocol."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cbir.evaluate.cases import extreme_queries
from cbir.evaluate.protocol import per_query
from tests.cli.conftest import Done, Sample
from tests.evaluate.helpers import labelled

Run = Callable[..., Done]
DATA = Path(__file__).parent.parent / "data"
DATE = re.compile(r"Made by cbir \S+ on [\d-]+ [\d:]+\.")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


@pytest.fixture
def photos(sample: Sample, tmp_path: Path) -> Path:
    """Three classes of the sample, with a name that is no code."""
    folder = tmp_path / "photos"
    for old, new in (("coffee", "coffee"), ("moon", "<b>mööñ & 月"), ("rocket", "rocket")):
        shutil.copytree(sample.photos / old, folder / new)
    return folder


def recall(command: Run, *more: object) -> Done:
    return command("benchmark", "recall", *more)


def pictures(page: str) -> int:
    return page.count("data:image/jpeg;base64,")


def test_a_report_and_the_same_one_from_stored_answers(
    command: Run, photos: Path, tmp_path: Path
) -> None:
    first, again, out = tmp_path / "first.html", tmp_path / "again.html", tmp_path / "out"
    asked = (photos, "--embedder", "classical/colour", "--projection", "none")
    done = recall(command, *asked, "-o", out, "--html", first)
    page = first.read_text(encoding="utf-8")
    n = pictures(page)
    assert done.code == 0 and f"Report: {first} ({n} pictures embedded)\n" == done.err
    assert n >= 3 * 10 and page.count("<svg") == 3
    assert "&lt;b&gt;mööñ &amp; 月" in page and "<b>mööñ" not in page
    assert "All 3 classes" in page and "27 queries" in page
    stored = recall(command, "--rescore", out, "--html", again, "--json")
    assert json.loads(stored.out)["queries"] == 27 and f"Report: {again}" in stored.err
    assert DATE.search(page)
    assert DATE.sub("", again.read_text(encoding="utf-8")) == DATE.sub("", page)
    assert recall(command, *asked).out == done.out == recall(command, "--rescore", out).out


def test_pictures_that_were_moved(command: Run, photos: Path, tmp_path: Path) -> None:
    page, out = tmp_path / "page.html", tmp_path / "out"
    recall(command, photos, "-o", out, "--embedder", "classical/colour")
    moved = tmp_path / "elsewhere" / "photos"
    moved.parent.mkdir()
    photos.rename(moved)
    done = recall(command, "--rescore", out, "--html", page)
    assert done.code == 0
    assert "pictures could not be read, and are grey in the report" in done.err
    assert "FOLDER --rescore DIR" in done.err and pictures(page.read_text(encoding="utf-8")) >= 30
    for folder in (moved, moved.parent):
        done = recall(command, folder, "--rescore", out, "--html", page)
        assert done.code == 0 and "grey" not in done.err
        assert "could not be read" not in page.read_text(encoding="utf-8")


def test_answers_of_an_earlier_version(command: Run, tmp_path: Path) -> None:
    for name in ("answers.json", "floor.json"):
        shutil.copy(DATA / "answers-v1.json", tmp_path / name)
    page = tmp_path / "page.html"
    done = recall(command, "--rescore", tmp_path, "--html", page)
    text = page.read_text(encoding="utf-8")
    assert done.code == 0 and "0 pictures embedded" in done.err
    assert "stored by an earlier version" in text and "irrelevant images were not kept" in text
    assert text.count("<svg") == 2 and ".362" in text


def test_landmarks_have_no_classes_and_show_what_was_asked_for(
    command: Run, sample: Sample, tmp_path: Path
) -> None:
    names = [f"coffee/{p.name}" for p in sorted((sample.photos / "coffee").iterdir())]
    queries = [{"image": names[0], "box": [5, 5, 90, 90], "ok": names[1:4]},
               {"image": "moon/original.jpg", "ok": []}]  # fmt: skip
    root = tmp_path / "set"
    shutil.copytree(sample.photos, root)
    (root / "gnd.json").write_text(json.dumps({"gallery": names, "queries": queries}))
    page = tmp_path / "page.html"
    asked = ("--landmarks", root / "gnd.json", "--embedder", "classical/colour", "--html", page)
    done = recall(command, *asked)
    text = page.read_text(encoding="utf-8")
    assert done.code == 0 and "This protocol has no labels" in text
    assert text.count("asked for the outlined part") == 2  # once as worst, once as best
    assert "1 more with nothing to find" in text and "coffee/" in text
    queries.pop(0)
    (root / "gnd.json").write_text(json.dumps({"gallery": names, "queries": queries}))
    done = recall(command, *asked)
    text = page.read_text(encoding="utf-8")
    assert done.code == 0 and "No query has a relevant image in the gallery" in text
    assert "<svg" not in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_groups(command: Run, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    asked = (photos, "--groups", 9, "--embedder", "classical/colour", "--html", page)
    assert recall(command, *asked).code == 0
    assert "All 3 classes" in page.read_text(encoding="utf-8")


def test_what_is_wrong_with_the_file_is_said_before_measuring(
    command: Run, photos: Path, tmp_path: Path
) -> None:
    for file in (tmp_path / "none" / "page.html", tmp_path):
        done = recall(command, photos, "--html", file)
        assert done.code == 2 and "--html: expected a file in a folder that is there" in done.err
    done = recall(command, "--self-queries", photos, "--html", tmp_path)
    assert done.code == 2 and "--html: expected a file in a folder that is there" in done.err
    assert not (tmp_path / "cache.sqlite").exists()


def test_more_classes_than_can_be_shown(command: Run, tmp_path: Path) -> None:
    """Stored answers alone make the page: no picture need be there."""
    _, answers = labelled(150, 400)
    assert answers.pictures is not None
    labels = {i: f"class {i}" for i in answers.pictures.names}
    many = replace(answers, pictures=replace(answers.pictures, labels=labels))
    for name in ("answers.json", "floor.json"):
        (tmp_path / name).write_text(many.to_json())
    page = tmp_path / "page.html"
    assert recall(command, "--rescore", tmp_path, "--html", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert "The 40 lowest of 147 classes" in text and text.count('<p class="class">') == 40
    ap = per_query(many)["mAP"]
    shown = extreme_queries(many, ap, 8, best=False) + extreme_queries(many, ap, 4, best=True)
    late = [i for i in shown if many.answers[i].ranks[0] > 9]
    assert late and text.count('class="tag">first right') == len(late)
    assert f"first right at rank {many.answers[late[0]].ranks[0]}<" in text
    assert "the 12 most frequent of" in text and text.count('<p class="times">') == 12
