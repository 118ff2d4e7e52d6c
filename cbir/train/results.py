"""What a training came to: before and after, a verdict, the split in numbers, the model card."""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np

import cbir
from cbir.backbones import get as backbone_info
from cbir.backbones import names
from cbir.embed import Embedder, ModelCard
from cbir.evaluate.protocol import Answers, compare
from cbir.train.finetune import Outcome, planned
from cbir.train.prepared import Prepared
from cbir.train.recipe import Recipe
from cbir.train.validation import means

MAIN = "MAP@R"
"""The metric that decides: it is what early stopping looks at."""
MOST_LABELS = 200
"""Names of classes in a card, at most."""


def comparison(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Each metric before and after, with the paired difference and its 95 % interval."""
    return compared(outcome.before, outcome.after)


def compared(first: Answers | None, second: Answers | None) -> dict[str, dict[str, Any]]:
    """The same of any two answers to the same queries; empty where one is missing."""
    if first is None or second is None:
        return {}
    before, after = means(first), means(second)
    made = {}
    for name in before:
        mean, low, high = compare(first, second, name)
        made[name] = {"before": before[name], "after": after[name],
                      "difference": mean, "interval": (low, high)}  # fmt: skip
    return made


def verdict(found: dict[str, dict[str, Any]], deciding: str = MAIN) -> str:
    """ "better", "worse", "unclear" by the interval of one metric; "unknown" without validation."""
    if not found or math.isnan(found[deciding]["difference"]):
        return "unknown"
    low, high = found[deciding]["interval"]
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


TWINS = 0.1
"""Share of pictures with near-duplicates below which a training without labels is not called better
for finding edited copies alone."""


def seen_once(outcome: Outcome, recipe: Recipe) -> bool:
    """Whether a training without labels was checked by edited copies alone, on pictures that hardly
    ever show one thing twice.

    It learns that each picture (or cluster) is a thing of its own. On grocery, where 35 % have
    near-duplicates, the same kind was found better afterwards; on clothing, where 1 % have, it was
    found far worse by all methods, while edited copies were found better (docs/design/0009).
    """
    made = outcome.prepared
    share = made.split.duplicates / max(1, len(made.samples))
    return bool(recipe.unlabelled) and outcome.check is None and share < TWINS


def joint_verdict(outcome: Outcome, recipe: Recipe) -> str:
    """The verdict of all checks: "better" only where one is, and none is worse (nor unknown where
    it matters: see `seen_once`)."""
    word = _joint(outcome, recipe)
    return "unclear" if word == "better" and seen_once(outcome, recipe) else word


def _joint(outcome: Outcome, recipe: Recipe) -> str:
    words = [verdict(comparison(outcome), recipe.deciding)]
    if outcome.check is not None:
        words.append(verdict(compared(outcome.check.before, outcome.check.after)))
    if "worse" in words:
        return "worse"
    return "better" if "better" in words else words[0]


def refused(outcome: Outcome, recipe: Recipe) -> bool:
    """Whether the embedder is not to be kept: trained without labels, and a check is worse."""
    return bool(recipe.unlabelled) and joint_verdict(outcome, recipe) == "worse"


def split_numbers(prepared: Prepared) -> dict[str, Any]:
    """The split in numbers."""
    labels, made = prepared.samples.numbers(), prepared.split
    return {
        "train": len(made.train),
        "train_classes": len(set(labels[made.train].tolist())),
        "validation": len(made.validation),
        "validation_classes": len(set(labels[made.validation].tolist())),
        "by_class": prepared.validation is not None and prepared.validation.by_class,
        "left_out": len(made.left_out) - prepared.unlabelled,
        "unlabelled": prepared.unlabelled,
        "in_duplicate_groups": made.duplicates,
    }


def data_of(prepared: Prepared) -> dict[str, Any]:
    """What a model card says of the pictures."""
    classes = prepared.samples.classes()
    return {
        "source": prepared.samples.name, "images": len(prepared.samples), "classes": len(classes),
        "near_duplicates": split_numbers(prepared)["left_out"], "skipped": len(prepared.failures),
        "labels": list(classes)[:MOST_LABELS],
    }  # fmt: skip


def versions() -> dict[str, str]:
    """What a model card says of the software."""
    import keras

    return {"cbir": cbir.__version__, "keras": keras.version(),
            "backend": keras.backend.backend(), "numpy": np.__version__,
            "python": platform.python_version()}  # fmt: skip


def card_of(outcome: Outcome, base: Embedder, recipe: Recipe) -> ModelCard:
    """The model card of a training's result."""
    prepared = outcome.prepared
    recipe = planned(prepared, recipe)
    numbers = split_numbers(prepared)
    by = "whole classes" if numbers["by_class"] else "images"
    spec = base.spec
    return ModelCard(
        title=f"{spec.backbone}, fine-tuned on {prepared.samples.name}",
        base=f"{spec.backbone} ({spec.weights}, {spec.input_size} px, {spec.resize})",
        base_fingerprint=base.fingerprint,
        licence=backbone_info(spec.backbone).licence if spec.backbone in names() else "unknown",
        data=data_of(prepared),
        splits={
            "train": part_of(prepared),
            **({"validation": {"images": numbers["validation"],
                               "classes": numbers["validation_classes"], "where": by}}
               if prepared.validation is not None else {}),
            **({"refit": part_of(outcome.refit.prepared)} if outcome.refit is not None else {}),
        },
        recipe=_settings(outcome, recipe),
        figures=figures_of(outcome),
        seconds=round(outcome.seconds, 1),
        versions=versions(),
    )  # fmt: skip


def part_of(prepared: Prepared) -> dict[str, Any]:
    """How much was learned from."""
    found = split_numbers(prepared)
    return {"images": found["train"], "classes": found["train_classes"]}


def figures_of(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Before, after, difference and interval by check and metric, as plain numbers."""
    checks = {"validation": comparison(outcome)}
    if outcome.check is not None:
        checks["labels"] = compared(outcome.check.before, outcome.check.after)
    return {
        check: {
            name: {**{k: _plain(row[k]) for k in ("before", "after", "difference")},
                   "interval": [_plain(v) for v in row["interval"]]}
            for name, row in found.items()
        }
        for check, found in checks.items()
        if found
    }  # fmt: skip


def _settings(outcome: Outcome, recipe: Recipe) -> dict[str, Any]:
    """The settings that counted: a head in closed form has few."""
    every = {**recipe.to_dict(), "dims": recipe.head_dims}
    if not outcome.progress.epochs:
        used = ("layers", "head", "dims", "seed", "split")
        return {**{name: every[name] for name in used}, **dict(outcome.notes)}
    return {**every, "training_side": outcome.side, "best_epoch": outcome.progress.best + 1,
            "epochs_run": outcome.progress.epochs, "refit": outcome.refit is not None}  # fmt: skip


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
