"""`cbir models`: own embedders, cards, figures measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cbir.config import EmbedderSpec
from cbir.embed import Embedder, ModelCard
from tests.cli.conftest import Done
from tests.conftest import picture

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two own embedders, one with a card, and a damaged one."""
    folder = tmp_path_factory.mktemp("shelf")
    for seed, name in ((1, "first"), (2, "second")):
        spec = EmbedderSpec("efficientnet-lite0", f"random:{seed}", "stem_relu6", input_size=32)
        card = ModelCard(
            "Shelves", "efficientnet-lite0", "ab" * 16, "Apache-2.0", {"images": 3}, {},
            {"seed": 0}, {"unseen": {"recall@1": {"before": 0.61, "after": 0.75}}},
            created="2026-11-24",
        )  # fmt: skip
        Embedder.from_spec(spec).save(folder / name, card if seed == 1 else None)
    (folder / "torn").mkdir()
    (folder / "torn" / "embedder.json").write_text("{")
    return folder


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a current folder of one's own."""
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.delenv("CBIR_EMBEDDERS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_ones_are_listed(command: Run, shelf: Path, alone: Path,
                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    assert "first" not in command("models").out and not (alone / "cache.sqlite").exists()
    done = command("models", "--in", shelf)
    lines = done.out.splitlines()
    assert done.code == 0 and "torn" in done.err and max(map(len, lines)) <= 100 + len(str(shelf))
    row = next(line.split() for line in lines if line.startswith("first "))
    assert row[:3] == ["first", "32", "32"] and row[4:] == ["random:1", "Apache-2.0", "2026-11-24"]
    assert "by its card: recall@1 .610 to .750" in done.out and "without a model card" in done.out
    assert "images/s" not in done.out
    monkeypatch.setenv("CBIR_EMBEDDERS", str(shelf))
    assert command("models").out == done.out
    own = [m for m in json.loads(command("models", "--json").out) if m["kind"] == "own"]
    assert [m["name"] for m in own] == ["first", "second"] and own[1]["card"] is None
    assert own[0]["card"]["title"] == "Shelves" and own[0]["folder"] == str(shelf / "first")


def test_one_card(command: Run, shelf: Path) -> None:
    done = command("models", shelf / "first")
    assert done.code == 0 and done.out.startswith("# Shelves\n")
    assert "| recall@1 | 0.610 | 0.750 | - | - |" in done.out
    assert done.out == (shelf / "first" / "README.md").read_text(encoding="utf-8")
    told = json.loads(command("models", shelf / "first", "--json").out)
    assert told["training"]["licence"] == "Apache-2.0" and told["parameters"] > 0
    assert command("models", shelf / "torn").code == 5
    assert command("models", shelf / "none").code == 2


def test_measuring(command: Run, shelf: Path, alone: Path) -> None:
    for label in range(3):
        (alone / "photos" / str(label)).mkdir(parents=True)
        for i in range(4):
            picture(10 * label + i // 2).save(alone / "photos" / str(label) / f"{i}.png")
    done = command("models", "--in", shelf, "--measure", "first", shelf / "second",
                   alone / "photos")  # fmt: skip
    assert done.code == 0, done.err
    assert "Measured on photos, leave one out (12 queries, 12 in the gallery)" in done.out
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["own"][-3:] == ["images/s", "recall@1", "mAP"]
    assert rows["first"][-2] == rows["second"][-2] == "1.000" and float(rows["first"][-3]) > 0
    assert rows["efficientnet-lite0"][-3:] == ["-", "-", "-"]
    again = command("models", "--in", shelf)
    assert again.out == done.out  # kept
    found = {m["name"]: m for m in json.loads(command("models", "--in", shelf, "--json").out)}
    (kept,) = found["second"]["measured"]
    assert kept["metrics"]["recall@1"] == 1 and kept["queries"] == 12
    table = alone / "photos" / "manifest.csv"
    rows_of = [f"{c}/{i}.png,{c},{'test' if i == 0 else 'train'}" for c in range(3)
               for i in range(4)]  # fmt: skip
    table.write_text("path,label,split\n" + "\n".join(rows_of) + "\n")
    done = command("models", "--in", shelf, "--measure", "first", "--manifest", table,
                   "--query-where", "split=test", "--gallery-where", "split=train")  # fmt: skip
    assert "3 queries, 9 in the gallery" in done.out
    own = done.out[done.out.index("own ") :].splitlines()
    assert own[2].split()[-3:] == ["-", "-", "-"]  # not measured on these


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--measure",), "expected one of FOLDER and --manifest CSV; received 0"),
        (("--measure", "first"), "received 0"),
        (("--measure", "nosuch", "."), "there is none of these at nosuch"),
        (("--query-where", "a=b"), "--query-where: expected with --measure"),
        (("first", "."), "expected one NAME or DIR; received 2"),
        (("--in", "nowhere"), "--in: expected a folder"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, command: Run, shelf: Path,
                  alone: Path) -> None:  # fmt: skip
    done = command("models", "--in", shelf, *arguments)
    assert done.code == 2 and message in done.err
