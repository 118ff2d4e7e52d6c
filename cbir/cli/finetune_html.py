"""`cbir finetune --html`: the report's page, from the outcome alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import write_album_page

if TYPE_CHECKING:
    from cbir.evaluate import Answers
    from cbir.present.album import Shot
    from cbir.present.training_page import Check, Example, TrainingReport
    from cbir.train.finetune import Outcome
    from cbir.train.recipe import Recipe

HITS = 5
EXAMPLES = 6
MEANINGS = {
    "recall@1": "the first hit is relevant",
    "mAP": "precision at every relevant picture",
    "MAP@R": "the same over as many places as are relevant",
}
TONES = {"better": "good-news", "worse": "bad-news"}


def write_report(file: str, outcome: Outcome, recipe: Recipe) -> None:
    """Write the page, and say where it is and what it could not show."""
    from cbir.present.training_page import training_page

    write_album_page(file, training_page(report_of(outcome, recipe)), "cbir finetune")


def report_of(outcome: Outcome, recipe: Recipe) -> TrainingReport:
    """Everything that the page shows."""
    from cbir.cli.finetune_report import sentence
    from cbir.present import count, human_duration
    from cbir.present.training_page import TrainingReport
    from cbir.train.results import joint_verdict
    from cbir.train.validation import METRICS

    history = outcome.progress.history
    word = joint_verdict(outcome, recipe)
    gained, lost = _examples(outcome.before, outcome.after)
    spec, samples = outcome.embedder.spec, outcome.prepared.samples
    asked = bool(history) and METRICS[0] in history[0]
    return TrainingReport(
        title=f"Fine-tuning: {spec.backbone} on {samples.name}",
        facts=(count(len(samples), "picture"), count(len(history), "epoch") if history else
               "closed form", human_duration(outcome.seconds),
               f"{outcome.embedder.feature_dims} dims"),
        verdict=sentence(outcome, recipe),
        tone=TONES.get(word, ""),
        checks=_checks(outcome, recipe),
        split=_split(outcome),
        losses=tuple(f["loss"] for f in history),
        validation={m: [f[m] for f in history] for m in METRICS} if asked else {},
        best=outcome.progress.best + 1,
        gained=gained,
        lost=lost,
        recipe=_recipe(recipe),
        notes=_notes(outcome),
        date=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _notes(outcome: Outcome) -> tuple[str, ...]:
    from cbir.cli.finetune_report import refit_line
    from cbir.present import count

    failed = len(outcome.prepared.failures)
    lines = [f"{count(failed, 'file')} could not be read, and took no part."] if failed else []
    if outcome.refit is not None:
        lines.append(refit_line(outcome.refit))
    return tuple(lines)


def _checks(outcome: Outcome, recipe: Recipe) -> tuple[Check, ...]:
    from cbir.present.recall_page import Value
    from cbir.present.training_page import Change, Check
    from cbir.train.results import compared, comparison

    found = {"Edited copies" if recipe.unlabelled else "Validation": comparison(outcome)}
    if outcome.check is not None:
        found["By labels"] = compared(outcome.check.before, outcome.check.after)
    return tuple(
        Check(name, tuple(
            Change(metric, MEANINGS.get(metric, ""), row["before"], row["after"],
                   Value(row["difference"], *row["interval"]))
            for metric, row in rows.items()
        ))
        for name, rows in found.items() if rows
    )  # fmt: skip


def _split(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    from cbir.train.results import split_numbers

    found = split_numbers(outcome.prepared)
    how = "whole classes" if found["by_class"] else "images of known classes"
    rows = [
        ("To learn from", f"{found['train']:,} pictures, {found['train_classes']:,} classes"),
        ("For validation", f"{found['validation']:,} pictures, "
                           f"{found['validation_classes']:,} classes"),
        ("Validation by", how if found["validation"] else "none"),
        ("In near-duplicate groups", f"{found['in_duplicate_groups']:,}"),
        ("Left out as near-duplicates", f"{found['left_out']:,}"),
        ("Without a label", f"{found['unlabelled']:,}"),
        ("Layers that learned", f"{outcome.layers[0]} of {outcome.layers[1]}"),
        ("Size of the pictures in training", f"{outcome.side} px" if outcome.side else ""),
        ("Epochs from a checkpoint", f"{outcome.resumed}" if outcome.resumed else ""),
    ]  # fmt: skip
    return tuple((name, value) for name, value in rows if value)


def _recipe(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Every setting, those of parts under the part's name."""
    rows: list[tuple[str, str]] = []
    for name, value in recipe.to_dict().items():
        if isinstance(value, dict):
            rows += [(f"{name}: {key}", _said(one)) for key, one in value.items()]
        else:
            rows.append((name, _said(value)))
    return tuple(rows)


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _examples(
    before: Answers | None, after: Answers | None
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Queries whose average precision rose most, and fell most; at most two of a class."""
    from cbir.evaluate.protocol import per_query

    if before is None or after is None:
        return (), ()
    first, second = per_query(before)["mAP"], per_query(after)["mAP"]
    change = [(b - a, i) for i, (a, b) in enumerate(zip(first, second, strict=True)) if b == b]
    made = []
    for sign in (1, -1):
        order = [i for gain, i in sorted(change, key=lambda c: (-sign * c[0], c[1]))
                 if sign * gain > 0]  # fmt: skip
        used: dict[str, int] = {}
        chosen: list[Example] = []
        for i in order:
            label = after.pictures.label(after.answers[i].image) if after.pictures else ""
            used[label] = used.get(label, 0) + 1
            if (used[label] <= 2 or not label) and len(chosen) < EXAMPLES:
                chosen.append(_example(before, after, i, (first[i], second[i])))
        made.append(tuple(chosen))
    return made[0], made[1]


def _example(before: Answers, after: Answers, place: int, ap: tuple[float, float]) -> Example:
    from cbir.present.album import Shot
    from cbir.present.training_page import Example

    image = after.answers[place].image
    pictures = after.pictures
    assert pictures is not None
    return Example(Shot(pictures.path(image), pictures.label(image)), _hits(before, place),
                   _hits(after, place), ap)  # fmt: skip


def _hits(answers: Answers, place: int) -> tuple[Shot, ...]:
    from cbir.present.album import Shot

    answer, pictures = answers.answers[place], answers.pictures
    assert pictures is not None
    right = set(answer.ranks)
    found = zip(answer.hits[:HITS], answer.scores[:HITS], strict=True)
    return tuple(
        Shot(pictures.path(position), pictures.label(position), rank, score, rank in right)
        for rank, (position, score) in enumerate(found, start=1)
    )
