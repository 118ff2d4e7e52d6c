"""Training from scratch: every network learns, is kept, cut, saved and used; kill and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.images.augment import NONE, Augmentation
from cbir.lifecycle import sync
from cbir.query import Index
from cbir.train.classifying import accuracy, logits_of
from cbir.train.scratch import Labelled, Lesson, Trained, save_classifier, train
from cbir.train.scratch_recipe import ScratchRecipe
from tests.backbones.photos import SAVING


class Watch:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps = 0

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)

    def advance(self, steps: int = 1) -> None:
        self.steps += steps


def stripes(n: int, size: int, seed: int = 0) -> Labelled:
    """Three classes of noisy pictures: bars across, bars down, none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = rng.integers(0, 100, (n, size, size, 3)).astype(np.uint8)
    bars = np.arange(size) % 8 < 4
    pixels[labels == 0] += (bars[:, None, None] * 150).astype(np.uint8)
    pixels[labels == 1] += (bars[None, :, None] * 150).astype(np.uint8)
    return Labelled(pixels, labels.astype(np.int64))


def lesson(size: int, n: int = 24) -> Lesson:
    return Lesson(stripes(n, size), stripes(12, size, 1), ("across", "down", "none"))


def run(name: str, size: int, work: Path, epochs: int = 6, **changes: Any) -> Trained:
    given = {"batch": 8, "warm": 0.0, "augmentation": NONE, "decay": 0.0, **changes}
    recipe = ScratchRecipe(name, size, epochs=epochs, **given)
    return train(lesson(size), recipe, str(work / "state"), Watch())


RATES = {"alexnet": 1e-4, "zfnet": 1e-4, "googlenet": 3e-4}
FAST = [("lenet5", 32)]
SLOW = [
    ("resnet20", 16), ("alexnet", 67), ("alexnet", 227), ("zfnet", 63), ("googlenet", 64),
    ("resnet18", 32), ("se-resnet18", 32), ("se-resnet50", 32), ("resnet50", 32),
    ("densenet121", 32),
]  # fmt: skip


@SAVING
@pytest.mark.parametrize(
    ("name", "size"), [*FAST, *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)]
)
def test_every_network_learns_and_becomes_an_embedder(name: str, size: int, tmp_path: Path) -> None:
    trained = run(name, size, tmp_path, 8, learning_rate=RATES.get(name, 1e-3))
    losses = [epoch["loss"] for epoch in trained.progress.history]
    assert min(losses[1:]) < 0.8 * losses[0]
    embedder = trained.embedder()
    features = embedder.features(lesson(size).validation.pixels)
    assert features.shape == (12, embedder.feature_dims) and features.std() > 0
    embedder.save(tmp_path / "embedder")
    loaded = Embedder.load(tmp_path / "embedder")
    assert loaded.fingerprint == embedder.fingerprint and loaded.spec.weights == "trained"
    np.testing.assert_array_equal(loaded.features(lesson(size).validation.pixels), features)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, pixels in enumerate(lesson(size).validation.pixels[:4]):
        Image.fromarray(pixels).save(photos / f"{i}.png")
    report = sync(str(tmp_path / "index"), [str(photos)], embedder=loaded)
    assert report.embedded == 4 and not report.failures
    with Index.open(tmp_path / "index") as index:  # which carries the network itself
        ranking = index.query(np.ascontiguousarray(lesson(size).validation.pixels[2]), k=1)
    assert ranking.hits[0].path.endswith("2.png") and ranking.hits[0].score > 0.999


def test_the_best_epochs_weights_are_kept(tmp_path: Path) -> None:
    trained = run("lenet5", 32, tmp_path, 5, learning_rate=0.01)
    history = [epoch["accuracy"] for epoch in trained.progress.history]
    asked = lesson(32).validation
    assert accuracy(logits_of(trained.model, asked.pixels), asked.labels) == max(history)
    assert trained.progress.best == history.index(max(history))


def test_an_embedder_cut_in_the_middle(tmp_path: Path) -> None:
    trained = run("lenet5", 32, tmp_path, 1)
    embedder = trained.embedder("s2")
    assert embedder.feature_dims == 6 and embedder.spec.cut == "s2"


class StopError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("lenet5", 32),
        pytest.param("resnet20", 16, marks=pytest.mark.slow),
        pytest.param("googlenet", 32, marks=pytest.mark.slow),
    ],
)
def test_a_training_that_was_cut_off_comes_to_the_same(
    name: str, size: int, tmp_path: Path
) -> None:
    """With dropout, BatchNorm, random crops and auxiliary heads."""
    how = ScratchRecipe(
        name, size, epochs=3, batch=8, learning_rate=3e-4, augmentation=Augmentation()
    )
    data = lesson(size, 16)
    whole = train(data, how, str(tmp_path / "whole"), Watch())

    def stop(figures: dict[str, float]) -> None:
        if figures["epoch"] == 2:
            raise StopError

    with pytest.raises(StopError):
        train(data, how, str(tmp_path / "part"), Watch(), stop)
    resumed = train(data, how, str(tmp_path / "part"), Watch())
    assert resumed.resumed == 2 and whole.resumed == 0
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for mine, other in zip(whole.progress.history, resumed.progress.history, strict=True):
        assert mine["loss"] == other["loss"] and mine["accuracy"] == other["accuracy"]
    resumed.finish()
    assert not (tmp_path / "part").exists()


def test_another_training_does_not_go_on(tmp_path: Path) -> None:
    run("lenet5", 32, tmp_path, 1)
    with pytest.raises(UsageError, match=r"other settings \(epochs differ\)"):
        run("lenet5", 32, tmp_path, 2)


def test_without_validation_the_last_epoch_counts(tmp_path: Path) -> None:
    data = Lesson(stripes(9, 32), stripes(0, 32), ("across", "down", "none"))
    how = ScratchRecipe("lenet5", 32, epochs=2, batch=4, augmentation=NONE)
    watch = Watch()
    trained = train(data, how, str(tmp_path / "state"), watch)
    assert trained.progress.best == 1 and "accuracy" not in trained.progress.history[0]
    assert watch.stages == ["Epoch 1", "Epoch 2"]
    assert watch.steps == 2 * 12  # the last batch of 4 is filled up


def test_patience_stops(tmp_path: Path) -> None:
    trained = run("lenet5", 32, tmp_path, 9, learning_rate=1e-12, patience=2)
    assert trained.progress.epochs == 3


@SAVING
def test_the_classifier_is_kept_too(tmp_path: Path) -> None:
    import json

    import keras

    from cbir.backbones.applications import custom_objects

    trained = run("lenet5", 32, tmp_path, 2)
    save_classifier(trained, str(tmp_path / "made"))
    assert {p.name for p in (tmp_path / "made").iterdir()} == {"classifier.keras", "classes.json"}
    about = json.loads((tmp_path / "made" / "classes.json").read_text())
    assert about["classes"] == ["across", "down", "none"]
    assert ScratchRecipe.from_dict(about["recipe"]) == trained.recipe
    model = keras.saving.load_model(
        tmp_path / "made" / "classifier.keras", custom_objects=custom_objects(), safe_mode=True
    )
    pixels = lesson(32).validation.pixels
    np.testing.assert_array_equal(logits_of(model, pixels), logits_of(trained.model, pixels))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"epochs": 0}, "epochs: expected 1 to"), ({"batch": 0}, "batch: expected 1"),
     ({"smoothing": 1.0}, "smoothing: expected 0 to 0.9"), ({"decay": -1.0}, "decay: expected 0"),
     ({"learning_rate": 0.0}, "learning_rate: expected a number above 0"),
     ({"optimizer": "rmsprop"}, "expected adamw or sgd; received 'rmsprop'")],
)  # fmt: skip
def test_recipes_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScratchRecipe("lenet5", 32, **changes)


def test_unknown_keys_of_a_recipe() -> None:
    whole = ScratchRecipe("lenet5", 32).to_dict()
    with pytest.raises(UsageError, match="received also more"):
        ScratchRecipe.from_dict({**whole, "more": 1})


def test_one_class_is_refused(tmp_path: Path) -> None:
    data = Lesson(stripes(3, 32), stripes(0, 32), ("all",))
    with pytest.raises(UsageError, match="at least 2 classes to learn from; received 3 pictures"):
        train(data, ScratchRecipe("lenet5", 32), str(tmp_path / "s"), Watch())


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="loss is not finite in epoch .*smaller --learning-rate"):
        run("lenet5", 32, tmp_path, 8, optimizer="sgd", learning_rate=3e38)
