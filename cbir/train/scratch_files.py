"""Training from scratch on files: what `prepare` made of them → what is learnt from; figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cbir.config import EmbedderSpec
from cbir.embed import ModelCard, Projection
from cbir.evaluate.protocol import Answers
from cbir.train.pictures import MARGIN, read_all
from cbir.train.prepared import Prepared, base_answers
from cbir.train.results import data_of, part_of, split_numbers, versions
from cbir.train.scratch import Labelled, Lesson, Trained
from cbir.train.scratch_recipe import ScratchRecipe
from cbir.train.validation import means
from cbir.train.watcher import Watcher
from cbir.types import Ids, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class FilesLesson:
    """A lesson, and the validation protocol's pictures uint8 (m, s, s, 3) for retrieval.

    `unknown` counts validation pictures of classes that are not trained: no classifier can name
    them, so that they are left out of the accuracy.
    """

    lesson: Lesson
    asked: Pixels
    unknown: int


def lesson_of(prepared: Prepared, recipe: ScratchRecipe, watch: Watcher) -> FilesLesson:
    """Read the pictures: those to learn from a little larger, for crops.

    Raises UsageError where a picture cannot be read any more.
    """
    numbers, split = prepared.samples.numbers(), prepared.split
    kept = np.unique(numbers[split.train])
    names = prepared.samples.classes()
    train = Labelled(
        _read(prepared, split.train, recipe, watch, MARGIN),
        np.searchsorted(kept, numbers[split.train]),
    )
    asked = np.empty((0, recipe.input_size, recipe.input_size, 3), np.uint8)
    if prepared.validation is not None:
        asked = _read(prepared, prepared.validation.pictures, recipe, watch, 1.0)
    wanted = numbers[split.validation]
    known = np.isin(wanted, kept)
    # `validation` asks with the kept pictures, which are the first ones of its protocol
    validation = Labelled(
        asked[: len(wanted)][known], np.searchsorted(kept, wanted[known]).astype(np.int64)
    )
    return FilesLesson(
        Lesson(train, validation, tuple(names[c] for c in kept.tolist())), asked,
        int((~known).sum()),
    )  # fmt: skip


def _read(
    prepared: Prepared, rows: Ids, recipe: ScratchRecipe, watch: Watcher, margin: float
) -> Pixels:
    paths = [prepared.samples.paths[i] for i in rows.tolist()]
    spec = EmbedderSpec(recipe.backbone, "trained", input_size=recipe.input_size,
                        resize=recipe.resize)  # fmt: skip
    watch.stage("Reading the pictures", len(paths))
    return read_all(paths, spec, margin, watch.advance)


def answers_of(prepared: Prepared, found: FilesLesson, trained: Trained, cut: str) -> Answers:
    """The validation queries, answered by the trained network without its classifier."""
    assert prepared.validation is not None
    features = trained.embedder(cut).features(found.asked)
    unit = Projection.none(features.shape[1]).apply(features)
    return prepared.validation.answers(unit, f"{trained.recipe.backbone}, from scratch")


def retrieval(
    prepared: Prepared, found: FilesLesson, trained: Trained, cut: str
) -> Mapping[str, Mapping[str, float]]:
    """recall@1, mAP and MAP@R on validation: "scratch" by the trained network, "stock" by the
    default embedder with ImageNet weights, as an index projects it. Empty without validation."""
    before = base_answers(prepared)
    if before is None:
        return {}
    return {"scratch": means(answers_of(prepared, found, trained, cut)), "stock": means(before)}


def card_of(
    prepared: Prepared, trained: Trained, figures: Mapping[str, Mapping[str, float]]
) -> ModelCard:
    """The model card: data, split, recipe; accuracy and retrieval on validation."""
    numbers, recipe, samples = split_numbers(prepared), trained.recipe, prepared.samples
    found = {
        name: {"after": round(value, 6)}
        for name, value in figures.get("scratch", {}).items() if not math.isnan(value)
    }  # fmt: skip
    if "accuracy" in trained.progress.history[trained.progress.best]:
        found["accuracy"] = {"after": round(trained.progress.best_score, 6)}
    validation = {"images": numbers["validation"], "classes": numbers["validation_classes"]}
    return ModelCard(
        title=f"{recipe.backbone}, trained from scratch on {samples.name}",
        base=f"{recipe.backbone} (initial weights, {recipe.input_size} px, {recipe.resize})",
        base_fingerprint="",
        licence="none: initial weights",
        data=data_of(prepared),
        splits={
            "train": part_of(prepared),
            **({"validation": validation} if prepared.validation is not None else {}),
        },
        recipe={**recipe.to_dict(), "best_epoch": trained.progress.best + 1,
                "epochs_run": trained.progress.epochs},
        figures={"validation": found} if found else {},
        seconds=round(trained.seconds, 1),
        versions=versions(),
    )  # fmt: skip
