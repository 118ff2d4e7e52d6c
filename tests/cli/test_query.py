"""`cbir query`: every option as a user gives it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Done, Sample

Run = Callable[..., Done]


def hits(done: Done) -> list[dict]:
    return json.loads(done.out)["hits"]


def test_a_table_by_default(command: Run, sample: Sample) -> None:
    done = command("query", sample.view("chelsea"), "-i", sample.index, "-k", 3)
    assert done.code == 0 and done.err == ""
    heading, _, table = done.out.partition("rank ")
    assert "chelsea" in heading and "3 hits" in heading and re.match(r" *score +match +path", table)
    lines = table.splitlines()[1:]
    assert len(lines) == 3 and all("chelsea" in line for line in lines)


def test_json_is_as_the_design_says(command: Run, sample: Sample) -> None:
    done = command("query", sample.view("coffee"), "-i", sample.index, "--json")
    found = json.loads(done.out)
    assert set(found) == {"query", "index", "took_ms", "hits"}
    assert len(found["hits"]) == 10
    first = found["hits"][0]
    assert {"rank", "id", "path", "score", "match"} <= set(first)
    matches = [hit["match"] for hit in found["hits"]]
    assert first["rank"] == 1 and matches == sorted(matches, reverse=True)
    assert matches[0] > 0.7 and matches[-1] < 0.2
    assert first["metadata"]["label"] == "coffee"
    assert Path(first["path"]).parent.name == "coffee"


def test_one_json_line_a_query(command: Run, sample: Sample) -> None:
    done = command("query", sample.view("coffee"), "-i", sample.index, "--jsonl", "-k", 2)
    assert len(done.out.splitlines()) == 1 and json.loads(done.out)["hits"][1]["rank"] == 2


def test_csv_paths_and_null(command: Run, sample: Sample) -> None:
    asked = ("query", sample.view("coffee"), "-i", sample.index, "-k", 2)
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--csv").out)))
    paths = command(*asked, "--paths").raw.split(b"\n")
    null = command(*asked, "-0").raw.split(b"\0")
    assert [os.fsencode(row["path"]) for row in rows] == paths[:2] == null[:2]
    assert paths[2:] == null[2:] == [b""]


def test_standard_input_and_copies(command: Run, sample: Sample) -> None:
    program = [sys.executable, "-m", "cbir", "query", "-", "-i", str(sample.index), "--json"]
    done = subprocess.run(program, input=sample.view("coffee").read_bytes(), capture_output=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == b"" and found["query"] == "-"
    assert found["hits"][0]["identical"] is True
    assert Path(found["hits"][0]["path"]).name == "original.jpg"
    done = subprocess.run(program, input=b"", capture_output=True)
    assert done.returncode == 2 and b"received nothing" in done.stderr


def test_by_id(command: Run, sample: Sample) -> None:
    by_file = hits(command("query", sample.view("coffee"), "-i", sample.index, "--json"))
    table = command("export", "--csv", "-", "-i", sample.index).out
    rows = csv.DictReader(io.StringIO(table))
    own = next(r["id"] for r in rows if r["path"] == str(sample.view("coffee")))
    for name in (own, f"id:{own}"):
        done = command("query", name, "-i", sample.index, "--json")
        assert hits(done) == by_file and json.loads(done.out)["query"] == f"id:{own}"
    done = command("query", "id:99999", "-i", sample.index)
    assert done.code == 2 and "No image has the id 99999" in done.err and done.out == ""


def test_several_queries_and_combined(command: Run, sample: Sample) -> None:
    two = (sample.view("coffee"), sample.view("rocket"))
    found = json.loads(command("query", *two, "-i", sample.index, "--json", "-k", 2).out)
    assert [Path(r["hits"][0]["path"]).parent.name for r in found] == ["coffee", "rocket"]
    joined = command("query", *two, "-i", sample.index, "--json", "--combine", "-k", 14)
    assert {Path(h["path"]).parent.name for h in hits(joined)} == {"coffee", "rocket"}
    heavy = command("query", *two, "-i", sample.index, "--json", "--combine", "--weight", 9,
                    "--weight", 1, "-k", 7)  # fmt: skip
    assert {Path(h["path"]).parent.name for h in hits(heavy)} == {"coffee"}
    bad = command("query", *two, "-i", sample.index, "--weight", 1)
    assert bad.code == 2 and "--combine" in bad.err
    bad = command("query", *two, "-i", sample.index, "--combine", "--weight", 1)
    assert bad.code == 2 and "Repeat --weight once per image" in bad.err


def test_crop_filters_and_self(command: Run, sample: Sample, tmp_path: Path) -> None:
    asked = ("query", sample.view("chelsea"), "-i", sample.index, "--json")
    assert hits(command(*asked, "--crop", "0.2,0.1,0.6,0.6")) != hits(command(*asked))
    assert "chelsea" in hits(command(*asked, "--crop", "100,50,250,200"))[0]["path"]
    bad = command(*asked, "--crop", "0,0,9000,10")
    assert bad.code == 2 and "inside the picture, which is 451 x 300" in bad.err
    found = hits(command(*asked, "--where", "path~coffee/*", "-k", 5))
    assert len(found) == 5 and all("/coffee/" in h["path"] for h in found)
    found = hits(command(*asked, "--where", "label=coffee,rocket", "--where", "view=grey"))
    assert [Path(h["path"]).stem for h in found] == ["grey", "grey"]
    bad = command(*asked, "--where", "nonsense=1")
    assert bad.code == 2 and "label" in bad.err
    kept = hits(command(*asked, "--keep-self", "-k", 1))
    assert kept[0]["identical"] and kept[0]["path"] == str(sample.view("chelsea"))
    few = hits(command(*asked, "--min-score", "0.8"))
    assert 0 < len(few) < 10 and all(h["score"] >= 0.8 for h in few)
    table = tmp_path / "more.csv"
    table.write_text(f"path,shop\n{sample.view('moon')},here\n")
    found = hits(command(*asked, "--metadata", table, "--where", "shop=here"))
    assert [h["metadata"]["shop"] for h in found] == ["here"]


def test_nothing_found(command: Run, sample: Sample) -> None:
    asked = ("query", sample.view("chelsea"), "-i", sample.index, "--where", "label=none")
    done = command(*asked)
    assert done.code == 0 and "no hits" in done.out
    assert command(*asked, "--fail-empty").code == 1
    assert hits(command(*asked, "--json")) == []


def test_pages_and_sheets(command: Run, sample: Sample, tmp_path: Path) -> None:
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    done = command("query", sample.view("chelsea"), "-i", sample.index, "--html", page, "--sheet",
                   sheet)  # fmt: skip
    assert done.code == 0 and str(page) in done.err and str(sheet) in done.err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 11
    with Image.open(sheet) as image:
        assert image.width > 400
    for option, name, word in (
        ("--sheet", "x.docx", "png"),
        ("--html", "no folder/x.html", "no folder"),
    ):
        bad = command("query", sample.view("moon"), "-i", sample.index, option, tmp_path / name)
        assert bad.code in (2, 5) and word in bad.err


def test_a_picture_that_cannot_be_read(command: Run, sample: Sample, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"<html>")
    done = command("query", bad, "-i", sample.index)
    assert done.code == 5 and done.out == "" and "HTML" in done.err
    done = command("query", bad, sample.view("moon"), "-i", sample.index, "--json")
    assert done.code == 0 and "HTML" in done.err and len(hits(done)) == 10
    done = command("query", bad, sample.view("moon"), "-i", sample.index, "--strict")
    assert done.code == 4
    done = command("query", bad, sample.view("moon"), "-i", sample.index, "--combine")
    assert done.code == 5 and "HTML" in done.err
    done = command("query", tmp_path / "none.jpg", "-i", sample.index)
    assert done.code == 2 and "there is nothing at" in done.err
    (tmp_path / "empty").mkdir()
    done = command("query", tmp_path / "empty", "-i", sample.index)
    assert done.code == 2 and "a folder with pictures; there are none" in done.err


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "--paths"])
def test_a_folder_against_the_gallery(
    command: Run, sample: Sample, tmp_path: Path, form: str
) -> None:
    """As each of its pictures by itself; one that cannot be read is listed."""
    folder = tmp_path / "asked"
    (folder / "deeper").mkdir(parents=True)
    for name, view in (("b.jpg", "moon"), ("deeper/a.jpg", "coffee"), ("c.jpg", "chelsea")):
        with Image.open(sample.view(view)) as image:
            image.resize((150, 150)).save(folder / name)
    (folder / "bad.jpg").write_bytes(b"<html>")
    asked = ("-i", sample.index, "-k", 4, form)
    done = command("query", folder, *asked)
    assert done.code == 0 and str(folder / "bad.jpg") in done.err and "HTML" in done.err
    assert command("query", folder, *asked, "--strict").code == 4
    names = [str(folder / name) for name in ("b.jpg", "c.jpg", "deeper/a.jpg")]
    alone = [command("query", name, *asked) for name in names]
    if form == "--json":
        found = json.loads(done.out)
        assert [one["query"] for one in found] == names
        assert [paths_of(one) for one in found] == [paths_of(json.loads(a.out)) for a in alone]
    elif form == "--jsonl":
        found = [json.loads(line) for line in done.out.splitlines()]
        assert [paths_of(one) for one in found] == [paths_of(json.loads(a.out)) for a in alone]
    elif form == "--csv":
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert [row["query"] for row in rows[::4]] == names
    else:
        assert done.out == "".join(a.out for a in alone)


def test_a_folder_with_one_picture_is_an_array_too(
    command: Run, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "12").mkdir()
    with Image.open(sample.view("moon")) as image:
        image.resize((150, 150)).save(tmp_path / "12" / "a.png")
    done = command("query", tmp_path / "12", "-i", sample.index, "--json")
    assert [Path(one["query"]).name for one in json.loads(done.out)] == ["a.png"]
    joined = command("query", tmp_path / "12", "-i", sample.index, "--json", "--combine")
    assert len(json.loads(joined.out)["hits"]) == 10
    monkeypatch.chdir(tmp_path)
    by_id = command("query", "12", "-i", sample.index, "--json")  # a number is an id
    assert json.loads(by_id.out)["query"] == "id:12"


def test_what_a_folder_does_not_show_is_listed(
    command: Run, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cbir.images import scan
    from cbir.types import Failure

    with Image.open(sample.view("moon")) as image:
        image.save(tmp_path / "a.png")

    def hidden(*args: object) -> object:
        seen = scan(*args)  # type: ignore[arg-type]
        seen.failures.append(Failure(str(tmp_path / "shut"), "cannot be listed"))
        return seen

    monkeypatch.setattr("cbir.images.scan", hidden)
    done = command("query", tmp_path, "-i", sample.index, "--paths")
    assert done.code == 0 and "cannot be listed" in done.err
    assert command("query", tmp_path, "-i", sample.index, "--paths", "--strict").code == 4


def paths_of(ranking: dict) -> list[str]:
    return [hit["path"] for hit in ranking["hits"]]


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "--paths", "-0"])
def test_only_results_on_stdout_and_pipes_may_close(sample: Sample, form: str) -> None:
    """As `cbir query ... | head -0`: no traceback, no message."""
    read, write = os.pipe()
    os.close(read)
    program = [sys.executable, "-m", "cbir", "query", str(sample.view("moon")), "-i",
               str(sample.index), form]  # fmt: skip
    done = subprocess.run(program, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0 and done.stderr == b""


def test_mistakes_are_said_before_the_search(command: Run, sample: Sample, tmp_path: Path) -> None:
    asked = ("query", sample.view("moon"), "-i", sample.index)
    for options, word in (
        (("--sheet", tmp_path / "x.docx"), ".png"),
        (("--html", tmp_path / "none" / "x.html"), "folder that is there"),
        (("--html", tmp_path), "folder that is there"),
    ):
        done = command(*asked, *options)
        assert done.code == 2 and word in done.err and done.out == ""
    assert command("query", "-", "-", "-i", sample.index).code == 2
    assert command("query", "x.jpg", "-i", "").code == 2
    assert command("query", "id:99999999999999999999", "-i", sample.index).code == 2


def test_a_closed_stdout(sample: Sample) -> None:
    program = f"{sys.executable} -m cbir query {sample.view('moon')} -i {sample.index} >&-"
    done = subprocess.run(program, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_the_neighbours_of_every_image(command: Run, sample: Sample, tmp_path: Path) -> None:
    """As each image asks by its id; to a file and to stdout."""
    text = command("export", "--neighbours", "-", "-k", 3, "-i", sample.index).out
    rows = list(csv.DictReader(io.StringIO(text)))
    images = len(list(csv.DictReader(io.StringIO(
        command("export", "--csv", "-", "-i", sample.index).out))))  # fmt: skip
    assert len(rows) == 3 * images and [row["rank"] for row in rows[:4]] == ["1", "2", "3", "1"]
    for row in rows[:30:3]:
        found = hits(command("query", "id:" + row["id"], "-i", sample.index, "--json", "-k", 3))
        own = [r for r in rows if r["id"] == row["id"]]
        assert [str(hit["id"]) for hit in found] == [r["neighbour"] for r in own]
        assert [hit["path"] for hit in found] == [r["neighbour_path"] for r in own]
        for hit, r in zip(found, own, strict=True):
            assert hit["score"] == pytest.approx(float(r["score"]), abs=2e-6)
    file = tmp_path / "graph.csv"
    done = command("export", "--neighbours", file, "-k", 3, "-i", sample.index)
    assert f"Neighbours of {images} images" in done.err
    assert file.read_bytes().decode() == text.replace("\n", "\r\n").replace("\r\r", "\r")
    bad = command("export", "-i", sample.index)
    assert bad.code == 2 and "--neighbours" in bad.err
    bad = command("export", "-i", sample.index, "--csv", "-", "-k", 3)
    assert bad.code == 2 and "expected together with --neighbours" in bad.err
