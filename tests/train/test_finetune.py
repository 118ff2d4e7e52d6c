"""Fine-tuning from end to end on a tiny network: it learns, resumes, keeps its best, says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.backbones.nested import flat_layers
from cbir.config import EmbedderSpec
from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.train.finetune import Outcome, finetune, planned
from cbir.train.prepared import Prepared, prepare
from cbir.train.recipe import Recipe
from cbir.train.results import card_of
from cbir.train.samples import Samples, from_folders
from cbir.train.sampling import BatchSpec, steps_of
from cbir.train.split import SplitSpec
from cbir.train.unlabelled import prepare_unlabelled, preset
from cbir.train.validation import means
from tests.train.conftest import RECIPE, Cut, Quiet, Tuned, tiny_model


def test_it_learns_and_the_embedder_is_saved_and_loaded(
    tuned: Tuned, tiny: Embedder, tmp_path: Path
) -> None:
    before = [w.copy() for w in tiny.model.get_weights()]
    out = tuned(replace(RECIPE, epochs=6))
    assert out.after is not None and out.before is not None
    losses = [figures["loss"] for figures in out.progress.history]
    assert losses[-1] < losses[0]
    assert means(out.after)["MAP@R"] > means(out.before)["MAP@R"]
    assert means(out.after)["MAP@R"] == pytest.approx(out.progress.best_score, abs=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, tiny.model.get_weights(), strict=True))
    assert out.embedder.spec.weights == "trained" and out.embedder.feature_dims == 8
    out.embedder.save(tmp_path / "made")
    again = Embedder.load(tmp_path / "made")
    assert again.fingerprint == out.embedder.fingerprint
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = again.features(pixels)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.allclose(found, out.embedder.features(pixels), atol=1e-6)
    assert (tmp_path / "work").exists()
    out.finish()
    assert not (tmp_path / "work").exists()


def test_pictures_may_be_smaller_in_training_and_larger_afterwards(
    classes_of: Callable[..., Path], tmp_path: Path
) -> None:
    base = Embedder(EmbedderSpec("test-tiny", "random:0", input_size=64), tiny_model(side=64))
    samples = from_folders(str(classes_of()))

    def tuned(scale: float, grow: float, base: Embedder = base) -> Outcome:
        prepared = prepare(samples, base, RECIPE, None, Quiet())
        recipe = replace(RECIPE, scale=scale, grow=grow)
        return finetune(prepared, base, recipe, str(tmp_path / f"{scale}-{grow}"), Quiet())

    out, whole = tuned(0.5, 1.5), tuned(1, 1)
    assert (out.side, out.embedder.spec.input_size) == (32, 96)
    assert (whole.side, whole.embedder.spec.input_size) == (64, 64)
    assert out.embedder.model.input_shape == (None, 96, 96, 3)
    assert out.after is not None and out.before is not None
    assert means(out.after)["MAP@R"] == pytest.approx(out.progress.best_score, abs=1e-5)
    assert card_of(out, base, RECIPE).recipe["training_side"] == 32
    out.embedder.save(tmp_path / "made")
    again = Embedder.load(tmp_path / "made")
    assert again.fingerprint == out.embedder.fingerprint and again.spec.input_size == 96
    more = tuned(0.5, 1.49, whole.embedder)  # trained before: it does not grow again
    assert (more.side, more.embedder.spec.input_size) == (32, 64)


def test_a_network_for_one_size_learns_at_that_size(
    classes_of: Callable[..., Path], tmp_path: Path
) -> None:
    import keras

    below = tiny_model(side=64)
    small = keras.layers.MaxPooling2D(16)(below.get_layer("tiny").output)
    net = keras.Model(below.get_layer("tiny").input, keras.layers.Flatten()(small), name="tiny")
    start = keras.Input((64, 64, 3), dtype="uint8")
    made = keras.Model(start, keras.layers.Dense(8)(net(keras.layers.Rescaling(1 / 255)(start))))
    base = Embedder(EmbedderSpec("test-tiny", "random:0", input_size=64), made)
    prepared = prepare(from_folders(str(classes_of())), base, RECIPE, None, Quiet())
    recipe = replace(RECIPE, scale=0.5, grow=1.5, epochs=1)
    out = finetune(prepared, base, recipe, str(tmp_path / "work"), Quiet())
    assert out.side == out.embedder.spec.input_size == 64 and out.embedder.feature_dims == 8


@pytest.mark.parametrize(
    ("scale", "grow", "side", "expected"),
    [(0.86, 1.15, 224, (192, 256)), (0.86, 1.15, 299, (256, 352)), (0.86, 1.15, 128, (96, 160)),
     (0.86, 1.15, 32, (32, 32)), (0.25, 2, 64, (32, 128)), (1, 1, 299, (299, 299)),
     (0.99, 1.01, 260, (256, 260)), (0.9, 1.1, 28, (28, 32))],
)  # fmt: skip
def test_the_sides(scale: float, grow: float, side: int, expected: tuple[int, int]) -> None:
    assert Recipe(scale=scale, grow=grow).sides(side) == expected


@pytest.mark.parametrize(
    "change",
    [{}, {"loss": "triplet", "loss_options": ("mining=distance-weighted",), "memory": 32}],
    ids=["proxies", "memory and random mining"],
)
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(
    tuned: Tuned, change: dict[str, Any]
) -> None:
    recipe = replace(RECIPE, **change)
    whole = tuned(recipe, "whole")

    def cut(figures: dict[str, float]) -> None:
        if figures["epoch"] == 2:
            raise Cut

    with pytest.raises(Cut):
        tuned(recipe, "cut", on_epoch=cut)
    rest = tuned(recipe, "cut")
    assert rest.resumed == 2
    assert rest.embedder.fingerprint == whole.embedder.fingerprint
    same = ("loss", "recall@1", "mAP", "MAP@R")
    for a, b in zip(whole.progress.history, rest.progress.history, strict=True):
        assert [a[name] for name in same] == [b[name] for name in same]


def test_where_epochs_are_not_said_they_follow_from_the_number_of_pictures(
    prepared: Prepared,
) -> None:
    asked = replace(RECIPE, epochs=0)
    assert steps_of(prepared.samples.numbers()[prepared.split.train], asked.batch) == 2  # 42 / 18
    assert planned(prepared, asked).epochs == 20  # and not 100
    assert planned(prepared, replace(asked, batch=BatchSpec(3, 1))).epochs == 14  # 14 batches
    assert planned(prepared, replace(asked, batch=BatchSpec(2, 1))).epochs == 10  # 21 batches
    many = replace(prepared, split=replace(prepared.split, train=np.tile(prepared.split.train, 9)))
    assert planned(many, replace(asked, batch=BatchSpec(2, 1))).epochs == 4
    assert planned(prepared, RECIPE) is RECIPE


def test_an_embedder_knows_what_it_learned_from_and_its_base_too(
    tuned: Tuned, prepared: Prepared, tiny: Embedder
) -> None:
    learned = tuned(replace(RECIPE, epochs=1), "once").embedder.learned
    assert learned == prepared.learned() and len(learned) == 42
    tiny.learned = frozenset({b"x" * 16})
    both = tuned(replace(RECIPE, epochs=1, layers="head"), "twice").embedder.learned
    assert both == prepared.learned() | tiny.learned


def test_layers_that_do_not_fit_are_said_before_a_picture_is_read(
    prepared: Prepared, tiny: Embedder
) -> None:
    class Never(Quiet):
        def stage(self, name: str, total: int | None = None) -> None:
            raise AssertionError(name)

    for made, recipe in (
        (prepare, RECIPE), (prepare_unlabelled, preset("simclr", {"epochs": 1})),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="fits no layer"):
            made(prepared.samples, tiny, replace(recipe, layers="block9*"), None, Never())


def test_validation_that_was_named_and_cannot_be_read_is_said(
    classes_of: Callable[..., Path], tiny: Embedder
) -> None:
    folder = classes_of()
    for i in range(2):
        (folder / "class0" / f"{i}.png").write_bytes(b"")
    samples = from_folders(str(folder))
    broken = ("class0/0.png", "class0/1.png")
    held = tuple(i for i, path in enumerate(samples.paths) if path.endswith(broken))
    assert len(held) == 2
    with pytest.raises(UsageError, match="none of the 2 that were named"):
        prepare(replace(samples, held=held), tiny, RECIPE, None, Quiet())


def test_a_training_with_other_settings_does_not_go_on(tuned: Tuned) -> None:
    tuned()
    with pytest.raises(UsageError, match="other settings .learning_rate differ"):
        tuned(replace(RECIPE, learning_rate=1e-3))


def test_a_training_with_another_validation_does_not_go_on(
    tuned: Tuned, prepared: Prepared, tiny: Embedder, tmp_path: Path
) -> None:
    tuned()
    held = tuple(range(6))  # the first class, where the split was drawn before
    other = replace(prepared.samples, held=held)
    assert set(prepared.split.validation.tolist()) != set(held)
    ready = prepare(other, tiny, RECIPE, None, Quiet())
    with pytest.raises(UsageError, match="other settings .pictures differ"):
        finetune(ready, tiny, RECIPE, str(tmp_path / "work"), Quiet())


def test_more_batches_to_a_step_than_there_are_is_refused(tuned: Tuned) -> None:
    with pytest.raises(UsageError, match="accumulate: expected at most 2"):
        tuned(replace(RECIPE, accumulate=3))


def test_time_before_a_cut_counts(tuned: Tuned) -> None:
    def cut(figures: dict[str, float]) -> None:
        raise Cut

    with pytest.raises(Cut):
        tuned(on_epoch=cut)
    rest = tuned()
    assert rest.resumed == 1
    assert rest.seconds > sum(figures["seconds"] for figures in rest.progress.history)


def test_validation_that_has_nothing_to_find_is_refused(prepared: Prepared, tiny: Embedder) -> None:
    labels = ["lone", "single", *prepared.samples.labels[2:]]
    alone = replace(prepared.samples, labels=tuple(labels), held=(0, 1))
    with pytest.raises(UsageError, match="validation: expected pictures with another"):
        prepare(alone, tiny, RECIPE, None, Quiet())


def test_a_picture_that_vanishes_before_it_is_edited_is_said(
    classes_of: Callable[..., Path], tiny: Embedder
) -> None:
    samples = from_folders(str(classes_of()))

    class Vanishing(Quiet):
        def stage(self, name: str, total: int | None = None) -> None:
            if name == "Editing pictures":
                for path in samples.paths:
                    Path(path).unlink()

    with pytest.raises(UsageError, match="cannot be read any more"):
        prepare_unlabelled(samples, tiny, preset("simclr", {}), None, Vanishing())


def test_the_seed_decides(tuned: Tuned) -> None:
    short = replace(RECIPE, epochs=1)
    first, same = tuned(short, "a"), tuned(short, "b")
    assert first.embedder.fingerprint == same.embedder.fingerprint
    assert tuned(replace(short, seed=1), "c").embedder.fingerprint != first.embedder.fingerprint


def test_it_stops_when_it_gets_no_better_and_keeps_the_best(tuned: Tuned) -> None:
    out = tuned(replace(RECIPE, learning_rate=1e-9, epochs=9, patience=2))
    history = out.progress.history
    assert len(history) == out.progress.best + 3
    assert history[out.progress.best]["MAP@R"] == max(f["MAP@R"] for f in history)


@pytest.mark.parametrize("grow", [1.0, 2.0])
def test_frozen_layers_and_norms_stay_as_they_are(
    tuned: Tuned, tiny: Embedder, grow: float
) -> None:
    out = tuned(replace(RECIPE, layers="last", epochs=1, grow=grow))
    before = {v.path.split("/")[-2:][0]: v.numpy() for v in tiny.model.weights[:2]}

    old = {layer.name: layer.get_weights() for layer in flat_layers(tiny.model)}
    new = {layer.name: layer.get_weights() for layer in flat_layers(out.embedder.model)}
    for name in ("conv1", "norm1"):
        assert all(np.array_equal(a, b) for a, b in zip(old[name], new[name], strict=True))
    assert not np.array_equal(old["conv2"][0], new["conv2"][0])
    assert out.layers == (1, 3) and before


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 2},
        {"precision": "mixed_bfloat16"},
        {"precision": "mixed_float16"},
        {"dims": 0},
        {"wait": 1.0},
        {"train_norms": True},
        {"layers": "head", "head": "loss"},
        {"split": SplitSpec(kind="image", duplicate=1.0)},
        {"split": SplitSpec(share=0)},
    ],
    ids=str,
)
def test_every_setting_runs(
    change: dict[str, Any], classes_of: Callable[..., Path], tiny: Embedder, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, epochs=1, **change)
    ready = prepare(from_folders(str(classes_of())), tiny, recipe, None, Quiet())
    out = finetune(ready, tiny, recipe, str(tmp_path / "work"), Quiet())
    assert np.isfinite(out.progress.history[0]["loss"])
    assert (out.after is None) == (recipe.split.share == 0)
    assert out.embedder.feature_dims == (recipe.dims or 16)
    assert all(w.dtype == np.float32 for w in out.embedder.model.get_weights())


@pytest.mark.parametrize("head", ["projection", "linear", "svm"])
def test_heads_in_closed_form(
    tuned: Tuned, prepared: Prepared, tiny: Embedder, head: str, tmp_path: Path
) -> None:
    out = tuned(replace(RECIPE, layers="head", head=head))
    assert not out.progress.epochs and out.after is not None
    rows = prepared.validation.pictures[:4]  # type: ignore[union-attr]
    from cbir.images import prepare as ready

    pixels = np.stack([ready(prepared.samples.paths[i], tiny.spec).pixels for i in rows])  # type: ignore[misc]
    hits = out.after.answers[0].scores
    made = out.embedder.features(pixels)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5) and len(hits)


def test_a_picture_that_cannot_be_read_is_listed_and_the_rest_goes_on(
    classes_of: Callable[..., Path], tiny: Embedder, tmp_path: Path
) -> None:
    folder = classes_of()
    (folder / "class0" / "broken.png").write_bytes(b"no picture")
    ready = prepare(from_folders(str(folder)), tiny, RECIPE, None, Quiet())
    assert len(ready.samples) == 54
    assert [Path(f.path).name for f in ready.failures] == ["broken.png"]


def test_copies_never_lie_on_both_sides(
    classes_of: Callable[..., Path], tiny: Embedder, tmp_path: Path
) -> None:
    folder = classes_of()
    for label in range(1, 9):  # the first picture of class 0 is in every class
        copy = (folder / "class0" / "0.png").read_bytes()
        (folder / f"class{label}" / "copy.png").write_bytes(copy)
    recipe = replace(RECIPE, split=SplitSpec("class", duplicate=0.9999))
    ready = prepare(from_folders(str(folder)), tiny, recipe, None, Quiet())
    groups = ready.split.groups
    assert ready.split.duplicates == 9
    assert not set(groups[ready.split.train]) & set(groups[ready.split.validation])
    assert len(ready.split.left_out) == 7


def test_one_class_or_no_label_is_refused(classes_of: Callable[..., Path], tiny: Embedder) -> None:
    samples = from_folders(str(classes_of(1, 4)))
    with pytest.raises(UsageError, match="at least 2 classes"):
        prepare(samples, tiny, RECIPE, None, Quiet())
    bare = Samples("x", samples.paths, ("",) * 4)
    with pytest.raises(UsageError, match="received 0"):
        prepare(bare, tiny, RECIPE, None, Quiet())
    Path(samples.paths[0]).write_bytes(b"")
    two = Samples("x", samples.paths, ("other", "x", "x", "x"))
    with pytest.raises(UsageError, match=r"received 1 \(3 pictures that can be read\)"):
        prepare(two, tiny, RECIPE, None, Quiet())


def test_a_loss_that_is_not_finite_is_said(tuned: Tuned) -> None:
    with pytest.raises(UsageError, match="smaller --learning-rate"):
        tuned(replace(RECIPE, learning_rate=1e30, loss="softmax"))


def test_recipes_round_trip_and_refuse_nonsense() -> None:
    recipe = replace(RECIPE, loss="triplet", loss_options=("mining=semi-hard",))
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(UsageError, match="received also nonsense"):
        Recipe.from_dict({**recipe.to_dict(), "nonsense": 1})
    for wrong in (
        {"loss": "tripple"}, {"loss_options": ("x",)}, {"epochs": -1}, {"layers": "blocks:0"},
        {"precision": "int8"}, {"learning_rate": 0.0}, {"head": "tree"},
        {"dims": -1}, {"loss_options": ("nonsense=1",)},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="expected"):
            Recipe(**wrong)  # type: ignore[arg-type]
