"""`--precision`: chosen once for an index, kept with it, and never mixed by accident."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cbir.config import RuntimeChoice, using_runtime
from tests.cli.conftest import Done
from tests.conftest import picture

pytest.importorskip("nncf", reason="nncf is an extra")
Run = Callable[..., Done]
SMALL = ("--input-size", "64", "--no-calibrate")


@pytest.fixture(autouse=True)
def compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache" / "features.sqlite"))
    with using_runtime(RuntimeChoice("openvino")):
        yield


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for i in range(70):
        file = tmp_path / "many" / f"{i:02d}.png"
        file.parent.mkdir(exist_ok=True)
        picture(i).save(file)
    return tmp_path / "many"


def facts(command: Run, index: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(command("info", "-i", index, "--json").out)
    return found


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
def test_an_index_has_the_precision_it_was_made_with(
    precision: str, command: Run, many: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    done = command("index", many, "-i", index, "--precision", precision, *SMALL)
    assert done.code == 0, done.err
    spec = facts(command, index)["embedder"]
    assert isinstance(spec, dict) and spec.get("precision", "f32") == precision
    query = ("query", many / "03.png", "-i", index, "--crop", "0,0,1,1", "--keep-self", "--json")
    hits = json.loads(command(*query).out)["hits"]
    assert hits[0]["path"].endswith("03.png")
    picture(99).save(many / "new.png")
    assert "1 added, 70 unchanged" in command("index", "-i", index, "--no-calibrate").out
    for same in ((), ("--precision", precision), ("--precision", "auto"),
                 ("--embedder", "efficientnet-lite0", "--input-size", "64")):  # fmt: skip
        again = command("index", many, "-i", index, "--no-calibrate", *same)
        assert again.code == 0 and "71 unchanged" in again.out, again.err
    other = "bf16" if precision != "bf16" else "f32"
    refused = command("index", many, "-i", index, "--precision", other)
    assert refused.code == 3 and "cbir adopt" in refused.err


def test_auto_says_what_it_measured_and_keeps_it(command: Run, many: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    done = command("index", many, "-i", index, "--precision", "auto", *SMALL)
    assert done.code == 0 and "recall@1 of copies" in done.out, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[0] for line in lines[1:4]] == ["f32", "bf16", "int8"]
    kept = facts(command, index)["precision"]
    assert isinstance(kept, dict) and [r["precision"] for r in kept["rows"]] == [
        "f32", "bf16", "int8"]  # fmt: skip
    assert kept["why"].split(":")[0] in ("f32", "bf16", "int8")
    assert kept["why"] in command("info", "-i", index).out


def test_auto_with_few_pictures_is_f32(command: Run, photos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    done = command("index", photos, "-i", index, "--precision", "auto", *SMALL)
    assert "Precision f32, since 12 pictures are too few" in done.out
    few = command("index", photos, "-i", tmp_path / "other", "--precision", "int8", *SMALL)
    assert few.code == 2 and "at least 32 pictures" in few.err


def test_another_precision_is_adopted_and_undone(command: Run, many: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    command("index", many, "-i", index, *SMALL)
    before = command("query", "id:3", "-i", index, "--csv").out
    moved = command("adopt", "efficientnet-lite0", "--input-size", "64", "--precision", "int8",
                    "-i", index, "--force", "--no-calibrate")  # fmt: skip
    assert moved.code == 0, moved.err
    spec = facts(command, index)["embedder"]
    assert isinstance(spec, dict) and spec["precision"] == "int8"
    assert command("check", "-i", index).code == 0
    assert command("adopt", "--roll-back", "-i", index).code == 0
    assert command("query", "id:3", "-i", index, "--csv").out == before
