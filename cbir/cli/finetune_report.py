"""What `cbir finetune` says: the split, each epoch, before and after, and whether it helped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import machine
from cbir.present.numbers import between, number, signed

if TYPE_CHECKING:
    from cbir.train.finetune import Outcome
    from cbir.train.prepared import Prepared
    from cbir.train.recipe import Recipe


def split_lines(prepared: Prepared, recipe: Recipe) -> list[str]:
    """How the pictures were divided, for people."""
    from cbir.present import count

    if recipe.unlabelled:
        return _unlabelled_lines(prepared, recipe)
    samples, made = prepared.samples, prepared.split
    labels = samples.numbers()
    train = len(set(labels[made.train]))
    lines = [f"{count(len(made.train), 'picture')} of {count(train, 'class', 'classes')} to learn "
             "from."]  # fmt: skip
    if prepared.validation is not None:
        kept = len(set(labels[made.validation]))
        how = (
            f"{count(kept, 'class', 'classes')} that are not learned from"
            if prepared.validation.by_class
            else f"the same {count(kept, 'class', 'classes')}"
        )
        lines[0] += f" Validation: {count(len(made.validation), 'picture')} of {how}."
    else:
        lines[0] += " No validation: the last epoch counts, whether it is better or not."
    if made.duplicates:
        lines.append(
            f"{count(made.duplicates, 'picture')} have near-duplicates (score "
            f"{recipe.split.duplicate:g} or more), which stay on one side of the split."
        )
    apart = len(made.left_out) - prepared.unlabelled
    if apart:
        lines.append(f"{count(apart, 'picture')} left out: too like a validation picture.")
    if prepared.unlabelled:
        lines.append(f"{count(prepared.unlabelled, 'picture')} left out: no label.")
    single = _single(prepared)
    if single:
        lines.append(
            f"{count(single, 'class', 'classes')} with one picture: shown as several random "
            "versions of it."
        )
    return lines


def _unlabelled_lines(prepared: Prepared, recipe: Recipe) -> list[str]:
    from cbir.present import count

    made = prepared.split
    classes = len({prepared.samples.labels[i] for i in made.train.tolist()})
    asked = 0 if prepared.validation is None else len(prepared.validation.truth.queries)
    lines = [
        f"{count(len(made.train), 'picture')} to learn from as {count(classes, 'class', 'classes')}"
        f" ({recipe.unlabelled}). Validation: {count(asked, 'edited copy', 'edited copies')} of "
        f"{count(len(made.validation), 'other picture')}."
    ]
    if made.duplicates:
        lines.append(f"{count(made.duplicates, 'picture')} have near-duplicates (score "
                     f"{recipe.split.duplicate:g} or more), which count as one.")  # fmt: skip
    return lines


def _single(prepared: Prepared) -> int:
    from collections import Counter

    labels = prepared.samples.numbers()[prepared.split.train]
    return sum(1 for n in Counter(labels.tolist()).values() if n == 1)


def epoch_line(figures: dict[str, float], recipe: Recipe) -> str:
    """One epoch in a line."""
    again = "all pictures, " if "of" in figures else ""
    epochs = figures.get("of", float(recipe.epochs))
    parts = [f"{again}epoch {figures['epoch']:.0f}/{epochs:.0f}", f"loss {figures['loss']:.3f}"]
    parts += [f"{name} {number(figures[name])}" for name in ("recall@1", "mAP", "MAP@R")
              if name in figures]  # fmt: skip
    return "  ".join([*parts, f"{figures['seconds']:.0f} s"])


SENTENCES = {
    "better": "It is better on the validation pictures.",
    "unclear": "It did not clearly help: the interval includes 0. More pictures or classes may.",
    "worse": "It did not help: it is worse on the validation pictures. Keep the plain embedder.",
    "unknown": "Nothing was kept for validation, so it is not known whether it helps.",
}
UNLABELLED = {
    "better": "It finds edited copies better{labels}. Whether it finds pictures of the same kind "
    "better, only labels tell.",
    "once": "It finds edited copies better, but hardly any two of these pictures show the same "
    "thing: on such a set this training made embedders that find pictures of the same kind worse. "
    "Give some labels to know (a folder for each class, or a --manifest), or keep the plain "
    "embedder.",
    "unclear": "It did not clearly help: the interval includes 0. Keep the plain embedder.",
    "worse": "It did not help: a check is worse. Keep the plain embedder.",
    "unknown": SENTENCES["unknown"],
}


def as_text(outcome: Outcome, recipe: Recipe, output: str) -> str:
    """The table of before and after, and what follows from it."""
    from cbir.present import human_duration
    from cbir.train.results import compared, comparison, joint_verdict

    found = comparison(outcome)
    lines = []
    if found:
        lines.append(_table("edited copies" if recipe.unlabelled else "validation", found))
    if outcome.check is not None:
        lines.append(_table("by labels", compared(outcome.check.before, outcome.check.after)))
    if "accuracy" in outcome.notes:
        lines.append(f"Classified right: {number(outcome.notes['accuracy'])}")
    word = joint_verdict(outcome, recipe)
    lines.append(sentence(outcome, recipe))
    epochs = outcome.progress.epochs
    if epochs:
        each = sum(f["seconds"] for f in outcome.progress.history) / epochs
        lines.append(
            f"Epoch {outcome.progress.best + 1} of {epochs} counts; {each:.0f} s an epoch, "
            f"{human_duration(outcome.seconds)} in all."
        )
    else:
        lines.append(f"Fitted in {human_duration(outcome.seconds)}.")
    if outcome.refit is not None:
        lines.append(refit_line(outcome.refit))
    if not (recipe.unlabelled and word == "worse"):
        size = outcome.embedder.spec.input_size
        lines.append(
            f"Embedder: {output} ({outcome.embedder.feature_dims} dims, pictures of {size} px)"
        )
    if word in ("better", "unknown"):
        lines.append(f"Next: cbir adopt {output} -i INDEX")
    return "\n".join(lines) + "\n"


def refit_line(refit: Outcome) -> str:
    """What was done once more, on what."""
    from cbir.present import count
    from cbir.train.results import part_of

    found = part_of(refit.prepared)
    how = f" for {count(refit.progress.epochs, 'epoch')}" if refit.progress.epochs else ""
    return (
        f"Then trained once more{how} on all {count(found['images'], 'picture')} of "
        f"{count(found['classes'], 'class', 'classes')}: that is the embedder. The figures "
        "are of the first training, which did not see the validation pictures."
    )


def sentence(outcome: Outcome, recipe: Recipe) -> str:
    """The verdict in words."""
    from cbir.train.results import comparison, joint_verdict, seen_once, verdict

    known = ", and is not worse by labels" if outcome.check is not None else ""
    said = UNLABELLED if recipe.unlabelled else SENTENCES
    word = joint_verdict(outcome, recipe)
    if word == "unclear" and seen_once(outcome, recipe):
        word = "once" if verdict(comparison(outcome), recipe.deciding) == "better" else word
    return said[word].format(labels=known)


def _table(title: str, found: dict[str, dict[str, Any]]) -> str:
    from cbir.present import columns

    rows = [
        (name, number(row["before"]), number(row["after"]), signed(row["difference"]),
         between(row["interval"]))
        for name, row in found.items()
    ]  # fmt: skip
    header = (title, "before", "after", "difference", "95 % interval")
    return columns(header, rows).rstrip("\n")


def _refit(refit: Outcome | None) -> dict[str, Any] | None:
    from cbir.train.results import part_of

    if refit is None:
        return None
    return {**part_of(refit.prepared), "epochs": refit.progress.history}


def as_json(outcome: Outcome, recipe: Recipe, output: str) -> str:
    """Everything, for machines."""
    from cbir.train.results import figures_of, joint_verdict, split_numbers

    figures = figures_of(outcome)
    data = {
        "embedder": output,
        "fingerprint": outcome.embedder.fingerprint,
        "dims": outcome.embedder.feature_dims,
        "verdict": joint_verdict(outcome, recipe),
        "metrics": figures.get("validation", {}),
        **({"labels": figures["labels"]} if "labels" in figures else {}),
        "split": split_numbers(outcome.prepared),
        "layers": {"learning": outcome.layers[0], "of": outcome.layers[1]},
        "training_side": outcome.side or None,
        "epochs": outcome.progress.history,
        "best_epoch": outcome.progress.best + 1 if outcome.progress.epochs else None,
        "resumed_epochs": outcome.resumed,
        "refit": _refit(outcome.refit),
        "notes": dict(outcome.notes),
        "recipe": recipe.to_dict(),
        "failures": [{"path": f.path, "reason": f.reason} for f in outcome.prepared.failures],
        "seconds": round(outcome.seconds, 3),
        "machine": machine(),
    }  # fmt: skip
    return json.dumps(data, indent=2) + "\n"
