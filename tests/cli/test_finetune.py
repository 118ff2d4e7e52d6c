"""`cbir finetune` as a user meets it, on a tiny network; killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cbir.embed import Embedder
from tests.cli.conftest import Done
from tests.train.conftest import classes_of, tiny

__all__ = ["classes_of", "tiny"]

Command = Callable[..., Done]
FAST = ("--epochs", "2", "--dims", "8", "--layers", "all", "--batch", "6x3", "--duplicate-score",
        "1", "--learning-rate", "0.005", "--split", "class")  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))


@pytest.fixture
def base(tiny: Embedder, tmp_path: Path) -> Path:
    """The tiny network, saved."""
    tiny.save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def photos(classes_of: Callable[..., Path]) -> Path:
    return classes_of()


def test_a_folder_becomes_an_embedder_with_a_card(
    command: Command, photos: Path, base: Path, tmp_path: Path
) -> None:
    (photos / "class1" / "broken.jpg").write_bytes(b"\xff\xd8 no")
    out = tmp_path / "made"
    done = command("finetune", photos, "-o", out, "--embedder", base, *FAST)
    assert done.code == 0, done.err
    saved = f"Embedder: {out} (8 dims, pictures of 32 px)"
    for text in ("validation", "before", "after", "MAP@R", saved, "Epoch "):
        assert text in done.out
    assert (
        "42 pictures of 7 classes to learn from. Validation: 12 pictures of 2 classes" in done.err
    )
    assert "epoch 1/2  loss" in done.err and "broken.jpg" in done.err
    card = Embedder.load(out).card
    assert card is not None and card.recipe["epochs_run"] == 2 and card.data["skipped"] == 1
    assert set(card.figures["validation"]) == {"recall@1", "mAP", "MAP@R"}
    assert not (tmp_path / "made.training").exists()
    index = command("index", photos, "-i", tmp_path / "index", "--embedder", out)
    assert index.code == 0, index.err
    hits = command("query", photos / "class0" / "1.png", "-i", tmp_path / "index", "--json")
    assert json.loads(hits.out)["hits"][0]["score"] > 0
    strict = command("finetune", photos, "-o", out, "--embedder", base, *FAST, "--strict",
                     "--json")  # fmt: skip
    assert strict.code == 4
    found = json.loads(strict.out)
    assert found["verdict"] in ("better", "worse", "unclear") and len(found["epochs"]) == 2
    assert found["split"]["validation_classes"] == 2 and len(found["failures"]) == 1


def test_where_it_helped_it_is_said_that_all_was_learned_once_more(
    command: Command, photos: Path, base: Path, tmp_path: Path
) -> None:
    longer = ["--embedder", base, *FAST, "--epochs", "6", "--learning-rate", "0.005",
              "--augment", "crop=0.9", "--augment", "flip=0"]  # fmt: skip
    page = tmp_path / "page.html"
    done = command("finetune", photos, "-o", tmp_path / "made", *longer, "--html", page)
    assert done.code == 0, done.err
    said = "on all 54 pictures of 9 classes: that is the embedder."
    assert said in " ".join(done.out.split())
    assert said in " ".join(page.read_text("utf-8").split())
    assert "all pictures, epoch 1/" in done.err
    card = Embedder.load(tmp_path / "made").card
    assert card is not None and card.recipe["refit"] is True
    assert card.splits["refit"] == {"images": 54, "classes": 9}
    assert len(Embedder.load(tmp_path / "made").learned) == 54
    index = tmp_path / "index"
    assert command("index", photos, "-i", index, "--embedder", base, "--no-calibrate").code == 0
    moved = command("adopt", tmp_path / "made", "-i", index, "--force")
    assert moved.code == 0, moved.err
    assert (
        "Of the queries, 54 are some that the new embedder learned from, which flatters"
        in moved.out
    )
    once = command("finetune", photos, "-o", tmp_path / "once", *longer, "--no-refit", "--json")
    assert json.loads(once.out)["refit"] is None and "all pictures, epoch" not in once.err
    assert len(Embedder.load(tmp_path / "once").learned) == 42
    twice = command("finetune", photos, "-o", tmp_path / "twice", *longer, "--json")
    found = json.loads(twice.out)
    assert found["refit"]["images"] == 54
    assert len(found["refit"]["epochs"]) == 6
    assert found["fingerprint"] == Embedder.load(tmp_path / "made").fingerprint
    assert not list(tmp_path.glob("*.training*"))


def test_a_head_in_closed_form_from_a_manifest(
    command: Command, photos: Path, base: Path, tmp_path: Path
) -> None:
    rows = [f"{p.relative_to(photos)},{p.parent.name},{'val' if p.stem == '5' else 'train'}"
            for p in sorted(photos.rglob("*.png"))]  # fmt: skip
    manifest = photos / "m.csv"
    manifest.write_text("path,kind,split\n" + "\n".join(rows) + "\n")
    done = command(
        "finetune", "--manifest", manifest, "--label", "kind", "--train-where", "split=train",
        "--val-where", "split=val", "-o", tmp_path / "made", "--embedder", base, "--layers", "head",
        "--head", "svm", "--duplicate-score", "1", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["split"]["train"] == 45 and found["split"]["validation"] == 9
    assert 0 <= found["notes"]["accuracy"] <= 1 and found["dims"] == 9


def test_pairs(command: Command, photos: Path, base: Path, tmp_path: Path) -> None:
    rows = [f"class{c}/0.png,class{c}/{i}.png,1" for c in range(9) for i in range(1, 6)]
    rows += ["class0/0.png,class1/0.png,0"]
    (photos / "p.csv").write_text("path,other,same\n" + "\n".join(rows) + "\n")
    done = command("finetune", "--pairs", photos / "p.csv", "-o", tmp_path / "made", "--embedder",
                   base, *FAST)  # fmt: skip
    assert done.code == 0, done.err


def test_losses_are_listed(command: Command) -> None:
    done = command("finetune", "--losses")
    assert done.code == 0 and "proxy-anchor" in done.out and "mining=" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of FOLDER"),
        (["{photos}", "--label", "x"], "expected together with --manifest"),
        (["{photos}", "--loss", "tripplet"], "Perhaps triplet"),
        (["{photos}", "--loss-option", "x=1"], "expected one of"),
        (["{photos}", "--layers", "blocks:x"], "layers: expected head"),
        (["{photos}", "--head", "svm"], "together with --layers head"),
        (["{photos}", "--layers", "head", "--loss", "arcface"], "fits projection at once"),
        (["{photos}", "--layers", "head", "--head", "svm", "--epochs", "3"], "--epochs: expected"),
        (["{photos}", "--layers", "head", "--epochs", "0"], "--epochs: expected"),
        (["{photos}", "--refit", "--val-share", "0"], "--refit: expected without --val-share 0"),
        (["{photos}", "--refit", "--unlabelled", "simclr"], "expected without --unlabelled"),
        (["{photos}", "--batch", "12"], "CLASSESxIMAGES"),
        (["{photos}", "--augment", "zoom=1"], "expected NAME=NUMBER"),
        (["{photos}", "--augment", "flip=2"], "flip: expected 0 to 1"),
        (["{photos}", "--val-share", "0.9"], "validation share"),
        (["{photos}", "--precision", "int8"], "precision: expected one of"),
        (["{photos}", "-o", "{photos}"], "expected a folder that is new, empty or holds"),
    ],
)
def test_usage_errors_come_before_any_work(
    command: Command, photos: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    used = [a.format(photos=photos) for a in arguments]
    if "-o" not in used:
        used += ["-o", str(tmp_path / "out")]
    done = command("finetune", *used)
    assert done.code == 2 and message in done.err
    assert not (tmp_path / "cache.sqlite").exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_one_that_was_not(
    base: Path, tmp_path: Path, photos: Path
) -> None:
    """`kill -9` after each epoch's line, and in between; the same command again goes on."""

    def start(out: str) -> subprocess.Popen[str]:
        call = [sys.executable, "-m", "cbir", "finetune", str(photos), "-o", str(tmp_path / out),
                "--embedder", str(base), *FAST[2:], "--epochs", "6", "--patience", "0",
                "--augment", "crop=0.9", "--augment", "flip=0"]  # fmt: skip
        return subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})  # fmt: skip

    whole = start("whole")
    _, err = whole.communicate(timeout=280)
    assert whole.returncode == 0 and "all pictures, epoch 2/" in err
    for epoch, wait in ((" 1/6", 0.0), (" 3/6", 0.05), (" 5/6", 0.0), ("s, epoch 1/", 0.0)):
        cut = start("cut")
        assert cut.stderr is not None
        for line in cut.stderr:
            if epoch in line:
                break
        time.sleep(wait)
        cut.send_signal(signal.SIGKILL)
        cut.communicate()
        assert not (tmp_path / "cut").exists() and (tmp_path / "cut.training").exists()
    last = start("cut")
    _, err = last.communicate(timeout=280)
    assert last.returncode == 0, err
    assert "epoch 1/" not in err and "all pictures, epoch 2/" in err
    made = [Embedder.load(tmp_path / name) for name in ("whole", "cut")]
    assert made[0].fingerprint == made[1].fingerprint
    figures: list[Any] = [m.card.figures for m in made if m.card is not None]
    assert figures[0] == figures[1]
    pixels = np.asarray(Image.open(photos / "class0" / "0.png"))[None]
    assert np.array_equal(made[0].features(pixels), made[1].features(pixels))


@pytest.mark.parametrize("method", ["simclr", "clusters", "self-queries"])
def test_without_labels(
    command: Command, photos: Path, base: Path, tmp_path: Path, method: str
) -> None:
    done = command(
        "finetune", photos, "--unlabelled", method, "-o", tmp_path / "made", "--embedder", base,
        "--epochs", "1", "--dims", "8", "--batch", "6x2", "--layers", "all", "--duplicate-score",
        "1", "--force",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "edited copies" in done.out and "by labels" in done.out
    assert f"({method}). Validation: 33 edited copies of 11 other pictures." in done.err
    card = Embedder.load(tmp_path / "made").card
    assert card is not None and card.recipe["unlabelled"] == method
    assert set(card.figures) == {"validation", "labels"}


def test_without_labels_few_pictures_and_unknown_methods_are_refused(
    command: Command, classes_of: Callable[..., Path], base: Path, tmp_path: Path
) -> None:
    few = classes_of(3, 4, "few")
    made = ("-o", tmp_path / "made", "--embedder", base)
    done = command("finetune", few, "--unlabelled", "simclr", *made)
    assert done.code == 2 and "at least 40 pictures" in done.err
    done = command("finetune", few, "--unlabelled", "byol", *made)
    assert done.code == 2 and "expected one of simclr" in done.err


def test_without_labels_what_is_worse_is_not_saved_unless_forced(
    command: Command, photos: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    spoil = ("finetune", photos, "--unlabelled", "clusters", "-o", out, "--embedder", base,
             "--epochs", "1", "--dims", "1", "--duplicate-score", "1")  # fmt: skip
    done = command(*spoil)
    assert done.code == 6 and "Not saved" in done.err and "a check is worse" in done.out
    assert not out.exists() and "Embedder:" not in done.out
    forced = command(*spoil, "--force")
    assert forced.code == 0 and "epoch 1/1" not in forced.err
    assert Embedder.load(out).feature_dims == 1
