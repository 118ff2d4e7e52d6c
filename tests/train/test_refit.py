"""The second training, on all pictures: when there is one, how long it is, resumed to the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cbir.embed import Embedder
from cbir.train.checkpoint import Progress
from cbir.train.finetune import fell, finetune, improved, planned
from cbir.train.prepared import Prepared, prepare
from cbir.train.samples import from_folders
from cbir.train.sampling import BatchSpec, steps_of
from cbir.train.split import SplitSpec
from cbir.train.validation import means
from tests.train.conftest import RECIPE, Cut, Quiet, Tuned

AGAIN = replace(RECIPE, epochs=6, refit=True)


def test_where_it_helped_all_pictures_are_learned_from_once_more(
    tuned: Tuned, prepared: Prepared, tmp_path: Path
) -> None:
    seen: list[dict[str, float]] = []
    first = tuned(replace(AGAIN, refit=False), "first")
    out = tuned(AGAIN, "again", on_epoch=seen.append)
    assert out.refit is not None and out.after is not None and first.after is not None
    split = out.refit.prepared.split
    assert split.train.tolist() == list(range(len(prepared.samples)))  # all of them
    assert out.prepared.split.validation.size and not split.validation.size
    assert means(out.after) == means(first.after)  # what is said is of the first training
    assert out.progress.best == first.progress.best
    assert out.refit.progress.epochs == 6 and not fell(first, "MAP@R")
    assert out.embedder.fingerprint == out.refit.embedder.fingerprint != first.embedder.fingerprint
    assert [f.get("of") for f in seen] == [None] * 6 + [out.refit.progress.epochs] * (
        out.refit.progress.epochs
    )
    assert out.seconds > out.refit.seconds > 0
    left = {p.name for p in tmp_path.iterdir()}
    assert {"again", "again.refit"} <= left
    out.finish()
    assert not {"again", "again.refit"} & {p.name for p in tmp_path.iterdir()}


def test_a_second_training_that_was_cut_off_ends_as_one_that_was_not(tuned: Tuned) -> None:
    whole = tuned(AGAIN, "whole")

    def cut(figures: dict[str, float]) -> None:
        if "of" in figures:
            raise Cut

    with pytest.raises(Cut):
        tuned(AGAIN, "cut", on_epoch=cut)
    rest = tuned(AGAIN, "cut")
    assert rest.resumed == 7  # all of the first, one of the second
    assert rest.embedder.fingerprint == whole.embedder.fingerprint


def test_no_second_training_where_it_did_not_help_or_validation_was_named(
    tuned: Tuned, prepared: Prepared, tiny: Embedder, tmp_path: Path
) -> None:
    assert tuned(replace(AGAIN, learning_rate=1e-12, loss_factor=1e-6), "idle").refit is None
    named = replace(prepared.samples, held=tuple(prepared.split.validation.tolist()))
    ready = prepare(named, tiny, AGAIN, None, Quiet())
    out = finetune(ready, tiny, AGAIN, str(tmp_path / "held"), Quiet())
    assert improved(out, AGAIN) and out.refit is None


def test_a_second_training_is_shorter_only_where_the_gain_was_lost(tuned: Tuned) -> None:
    out = tuned(replace(AGAIN, refit=False))
    assert out.before is not None
    start = means(out.before)["MAP@R"]
    for values, lost in (
        ((0.1, 0.3, 0.2), False), ((0.1, 0.3, 0.14), True), ((0.3, 0.29), False), ((0.3,), False),
        ((0.2, 0.2, -0.1), True),
    ):  # fmt: skip
        history = [{"MAP@R": start + value} for value in values]
        best = int(np.argmax(values))
        assert fell(replace(out, progress=Progress(history, best)), "MAP@R") is lost
    assert not fell(replace(out, progress=Progress()), "MAP@R")


def test_a_head_in_closed_form_is_fitted_once_more(
    classes_of: Callable[..., Path], tiny: Embedder, tmp_path: Path
) -> None:
    recipe = replace(AGAIN, epochs=0, layers="head", head="svm", split=SplitSpec("image", 0.25))
    samples = from_folders(str(classes_of(each=12)))
    ready = prepare(samples, tiny, recipe, None, Quiet())
    out = finetune(ready, tiny, recipe, str(tmp_path / "work"), Quiet())
    assert out.refit is not None and out.refit.prepared.split.train.size == 108
    once = finetune(ready, tiny, replace(recipe, refit=False), str(tmp_path / "work"), Quiet())
    assert once.refit is None and once.embedder.fingerprint != out.embedder.fingerprint
    assert planned(ready, recipe) is recipe  # it has no epochs
    assert list(tmp_path.glob("work*")) == []


def test_after_a_second_training_that_was_cut_off_the_first_can_be_had(tuned: Tuned) -> None:
    def cut(figures: dict[str, float]) -> None:
        if "of" in figures:
            raise Cut

    with pytest.raises(Cut):
        tuned(AGAIN, "cut", on_epoch=cut)
    once = tuned(replace(AGAIN, refit=False), "cut")
    assert once.refit is None and once.resumed == 6


def test_a_second_training_never_outlives_its_first(tuned: Tuned, tmp_path: Path) -> None:
    def cut(figures: dict[str, float]) -> None:
        if "of" in figures:
            raise Cut

    with pytest.raises(Cut):
        tuned(AGAIN, "cut", on_epoch=cut)
    assert (tmp_path / "cut.refit").exists()
    shutil.rmtree(tmp_path / "cut")
    out = tuned(replace(AGAIN, decay=1e-3), "cut")  # other settings: nothing of the old one counts
    assert out.refit is not None and out.resumed == 0
    out.finish()
    with pytest.raises(Cut):
        tuned(AGAIN, "cut", on_epoch=cut)
    tuned(replace(AGAIN, refit=False), "cut").finish()
    assert list(tmp_path.glob("cut*")) == []


def test_a_second_training_may_have_fewer_batches(
    classes_of: Callable[..., Path], tiny: Embedder, tmp_path: Path
) -> None:
    """More classes make larger batches; what is added up fits all the same."""
    samples = from_folders(str(classes_of(8, 14)))
    for label in range(4, 8):
        for i in range(4, 14):
            (tmp_path / "classes" / f"class{label}" / f"{i}.png").unlink()
    samples = from_folders(str(tmp_path / "classes"))
    for seed in range(40):
        recipe = replace(AGAIN, epochs=6, batch=BatchSpec(12, 2), accumulate=6,
                         split=SplitSpec("class", 0.5, 1.0, seed))  # fmt: skip
        ready = prepare(samples, tiny, recipe, None, Quiet())
        labels = samples.numbers()
        first = steps_of(labels[ready.split.train], recipe.batch)
        if first >= 6 > steps_of(labels, recipe.batch):
            break
    else:
        pytest.fail("no split has more batches than all pictures have")
    out = finetune(ready, tiny, recipe, str(tmp_path / "work"), Quiet())
    assert improved(out, recipe) == (out.refit is not None)
