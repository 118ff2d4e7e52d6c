"""`cbir train` as a user runs it: from folders and from a CSV, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbir.embed import Embedder
from tests.backbones.photos import SAVING
from tests.cli.conftest import Done

Command = Callable[..., Done]
pytestmark = SAVING


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 8 different pictures each, and a broken file."""
    place = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    rows = ["path,label,split"]
    for label in ("light", "dark"):
        (place / label).mkdir()
        for i in range(8):
            low = 128 if label == "light" else 0
            small = rng.integers(low, low + 128, (6, 6, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize((40, 40), Image.Resampling.NEAREST)
            image.save(place / label / f"{i}.png")
            rows.append(f"{label}/{i}.png,{label},{'val' if i > 5 else 'train'}")
    (place / "light" / "broken.png").write_bytes(b"no picture")
    (place / "manifest.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


FEW = ("--backbone", "lenet5", "--epochs", "2", "--batch-size", "4", "--duplicate-score", "1")


def test_from_folders(command: Command, folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = command("train", folder, *FEW, "-o", made, "--strict")
    assert done.code == 4, done.err
    assert "broken.png" in done.err and "epoch 2/2" in done.err
    assert "lenet5, best epoch" in done.out and "lenet5, from scratch" in done.out
    assert "efficientnet-lite0" in done.out
    assert sorted(p.name for p in made.iterdir()) == [
        "README.md", "embedder.json", "learned.bin", "model.keras",
    ]  # fmt: skip
    card = (made / "README.md").read_text()
    assert "lenet5, trained from scratch on" in card and "accuracy" in card
    assert not (tmp_path / "made.training").exists()
    about = json.loads((tmp_path / "made.classifier" / "classes.json").read_text())
    assert about["classes"] == ["dark", "light"]
    assert Embedder.load(made).feature_dims == 84


def test_from_a_manifest_as_json_then_indexed(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    made, index = tmp_path / "made", tmp_path / "index"
    done = command(
        "train", "--manifest", folder / "manifest.csv", "--train-where", "split=train",
        "--val-where", "split=val", *FEW, "-o", made, "--cut", "c3", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["train"] == 12 and found["validation"] == 4 and found["classes"] == 2
    assert found["accuracy"] == max(epoch["accuracy"] for epoch in found["history"])
    assert set(found["retrieval"]) == {"scratch", "stock"}
    assert found["recipe"]["backbone"] == "lenet5" and found["recipe"]["learning_rate"] == 0.001
    assert command("index", folder, "-i", index, "--embedder", made).code == 0
    hits = json.loads(command("query", folder / "dark" / "1.png", "-i", index, "--json").out)
    assert len(hits[0]["hits"] if isinstance(hits, list) else hits["hits"]) == 10


def test_an_index_needs_weights(command: Command, folder: Path, tmp_path: Path) -> None:
    done = command("index", folder, "-i", tmp_path / "index", "--embedder", "lenet5")
    assert done.code == 5 and "Train it first" in done.err
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "lenet5", "-o", "made"], "one of FOLDER and --manifest CSV; received 0"),
        (["{folder}", "--backbone", "lenet9", "-o", "made"], "received 'lenet9'"),
        (["{folder}", "--backbone", "lenet5"], "Missing option"),
        (["{folder}", "--backbone", "lenet5", "-o", "made", "--val-where", "a=b"],
         "--val-where: expected together with --manifest"),
        (["{folder}", "--backbone", "lenet5", "-o", "{folder}"], "expected a folder that is new"),
        (["{folder}", "--backbone", "lenet5", "-o", "made", "--augment", "tilt=1"], "'tilt=1'"),
        (["{folder}", "--backbone", "lenet5", "-o", "made", "--epochs", "0"], "epochs: expected"),
        (["{folder}", "--backbone", "lenet5", "-o", "made", "--cut", "c9"], "received 'c9'"),
        (["{folder}", "--backbone", "lenet5", "-o", "made", "--val-share", "0.9"], "share"),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    arguments: list[str], message: str, command: Command, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = command("train", *(a.format(folder=folder) for a in arguments))
    assert done.code == 2 and message in done.err, done.err
    assert not (tmp_path / "made").exists()
