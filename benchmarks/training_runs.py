"""Trainings for benchmarks: what is learned from and asked, single runs kept on disk, tables."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import say

from cbir import Embedder
from cbir.catalog import FeatureCache
from cbir.config import IndexSpec
from cbir.evaluate import Truth, from_manifest
from cbir.evaluate.ground_truth import from_labels, read_manifest
from cbir.evaluate.heads import nearest_neighbours
from cbir.evaluate.metrics import paired_difference
from cbir.evaluate.protocol import Answers, per_query
from cbir.evaluate.run import answered, truth_features
from cbir.lifecycle.sync import Silent
from cbir.present.numbers import between, number, signed
from cbir.train import samples as sampling
from cbir.train.finetune import finetune
from cbir.train.prepared import prepare
from cbir.train.recipe import Recipe
from cbir.train.samples import Samples
from cbir.train.unlabelled import prepare_unlabelled

METRICS = ("recall@1", "mAP", "MAP@R")
BOTH = (IndexSpec(), IndexSpec(projection="none"))
"""As `cbir index` makes embeddings, and the features as they are."""


@dataclass(frozen=True)
class Task:
    """Pictures to learn from, and the protocol of held-out ones."""

    name: str
    samples: Samples
    truth: Truth


def tasks(data: Path) -> dict[str, Task]:
    """The three tasks on the development sets; `test` is never touched."""
    clothing, grocery = (str(data / name / "manifest.csv") for name in ("clothing", "grocery"))
    seen, unseen = "class_split=seen", "class_split=unseen"
    return {
        "unseen": Task(
            "grocery, seen → unseen classes",
            sampling.from_manifest(grocery, ["split=train", seen]),
            from_manifest(grocery, ["split=val", unseen], ["split=train", unseen]),
        ),
        "grocery": Task(
            "grocery, 81 classes",
            sampling.from_manifest(grocery, ["split=train"]),
            from_manifest(grocery, ["split=val"], ["split=train"]),
        ),
        "clothing": Task(
            "clothing, 10 classes",
            sampling.from_manifest(clothing, ["split=train"]),
            from_manifest(clothing, ["split=validation"], ["split=train"]),
        ),
    }


def ask(
    embedder: Embedder, task: Task, specs: Sequence[IndexSpec], cache: FeatureCache | None
) -> list[dict[str, Any]]:
    """For each projection: per-query values of the metrics, and the accuracy of k-NN on the same
    queries. Pictures are embedded once."""
    found = truth_features(task.truth, embedder, cache)
    labels = np.unique(task.truth.labels, return_inverse=True)[1]
    own = labels[found.truth.gallery]
    asked = labels[[q.image for q in found.truth.queries]]
    made = []
    for spec, projection in zip(specs, found.projections(specs), strict=True):
        answers = answered(found, spec, projection)
        queries, gallery = projection.apply(found.queries), projection.apply(found.gallery)
        right = nearest_neighbours(gallery, own.astype(np.int64)).predict(queries) == asked
        made.append({**values(answers), "k-NN": [float(r) for r in right]})
    return made


def values(answers: Answers) -> dict[str, list[float]]:
    """The metrics of each query."""
    every = per_query(answers)
    return {name: [float(v) for v in every[name]] for name in METRICS}


@dataclass(frozen=True)
class Way:
    """A way to an embedder: a recipe, or None for the frozen features."""

    name: str
    recipe: Recipe | None
    size: int = 224

    @property
    def unlabelled(self) -> bool:
        """Whether it learns without labels."""
        return self.recipe is not None and bool(self.recipe.unlabelled)


def run_way(way: Way, task: Task, seed: int, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """Train (or not) and ask; kept on disk by what was asked for."""
    recipe = None if way.recipe is None else replace(
        way.recipe, seed=seed, split=replace(way.recipe.split, seed=seed)
    )  # fmt: skip
    text = json.dumps([task.name, way.size, None if recipe is None else recipe.to_dict()])
    key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    file = work / f"{key}.json"
    if file.exists():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    start = time.perf_counter()
    base = Embedder.load("efficientnet-lite0", input_size=way.size)
    if recipe is None:
        projected, raw = ask(base, task, BOTH, cache)
        made: dict[str, Any] = {"values": projected, "raw": raw, "epochs": 0, "epoch_s": 0.0}
    else:
        how = prepare_unlabelled if recipe.unlabelled else prepare
        ready = how(task.samples, base, recipe, cache, Silent())
        out = finetune(ready, base, recipe, str(work / f"{key}.training"), Silent())
        history = out.progress.history
        projected, raw = ask(out.embedder, task, BOTH, None)
        made = {
            "values": projected, "raw": raw,
            "epochs": out.progress.epochs, "best": out.progress.best + 1, "history": history,
            "epoch_s": float(np.mean([f["seconds"] for f in history])) if history else 0.0,
            "before": None if out.before is None else _means(values(out.before)),
            "validation": None if out.after is None else _means(values(out.after)),
        }  # fmt: skip
        out.finish()
    made["seconds"] = time.perf_counter() - start
    file.write_text(json.dumps(made), encoding="utf-8")
    say(f"  {task.name}; {way.name}; seed {seed}: {_short(made['values'])} "
        f"({made['epochs']} epochs, {made['seconds']:.0f} s)")  # fmt: skip
    return made


def _means(rows: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.nanmean(row)) for name, row in rows.items()}


def _short(rows: dict[str, list[float]]) -> str:
    return " ".join(f"{name} {number(value)}" for name, value in _means(rows).items())


def table(
    task: Task, ways: Sequence[Way], seeds: Sequence[int], work: Path, cache: FeatureCache
) -> list[dict[str, Any]]:
    """Each way over the seeds: mean and spread of each metric, and the paired gain over the first.

    A query's value is its mean over the seeds, so that the interval is over queries.
    """
    first: dict[str, Any] | None = None
    rows = []
    for way in ways:
        runs = [run_way(way, task, s, work, cache) for s in (seeds if way.recipe else (0,))]
        mean = {m: np.mean([r["values"][m] for r in runs], axis=0) for m in runs[0]["values"]}
        first = first or mean
        rows.append({
            "way": way.name,
            "seeds": len(runs),
            **{m: {
                "mean": float(np.nanmean(mean[m])),
                "spread": float(np.std([np.nanmean(r["values"][m]) for r in runs])),
                "gain": list(paired_difference(list(first[m]), list(mean[m]))),
                "raw": float(np.mean([np.nanmean(r["raw"][m]) for r in runs])),
            } for m in mean},
            "copies": [[r["before"], r["validation"]] for r in runs] if way.unlabelled else [],
            "epochs": [r["epochs"] for r in runs],
            "epoch_s": float(np.mean([r["epoch_s"] for r in runs])),
            "seconds": float(np.mean([r["seconds"] for r in runs])),
        })  # fmt: skip
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A table as Markdown."""
    say(f"\n{title}\n")
    names = [*METRICS, "k-NN"]
    say("| way | " + " | ".join(names) + " | mAP gain, 95 % | recall@1 gain, 95 % | s/epoch | s |")
    say("|---" * (len(names) + 5) + "|")
    for row in rows:
        cells = [f"{number(row[m]['mean'])} ± {number(row[m]['spread'])}" for m in names]
        gains = [_gain(row[m]["gain"]) for m in ("mAP", "recall@1")]
        say(f"| {row['way']} | " + " | ".join([*cells, *gains]) +
            f" | {row['epoch_s']:.0f} | {row['seconds']:.0f} |")  # fmt: skip


def _gain(found: Sequence[float]) -> str:
    return f"{signed(found[0])} ({between((found[1], found[2]))})"


HALVINGS = (0, 1)


def fold_tasks(data: Path) -> list[Task]:
    """Grocery's seen classes cut into halves, twice: learn from one half, ask about the other.

    As many classes are asked as possible, since few are easy to tell apart. Queries are the val
    pictures of the asked classes, the gallery their training pictures, as the unseen classes are
    asked; those are not looked at, so recipes may be chosen here. (Leaving one training picture out
    would ask for shots of the same moment: frozen features find .99 of them.)
    """
    file = str(data / "grocery" / "manifest.csv")
    rows = [r for r in read_manifest(file) if r.columns["class_split"] == "seen"]
    names = sorted({r.columns["label"] for r in rows})
    made = []
    for fold in range(2 * len(HALVINGS)):
        order = np.random.default_rng(HALVINGS[fold // 2]).permutation(len(names)).tolist()
        held = {names[i] for i in order[fold % 2 :: 2]}
        asked = [r for r in rows if r.columns["label"] in held]
        splits = [r.columns["split"] for r in asked]
        truth = from_labels(
            f"grocery, seen classes, fold {fold}", [r.path for r in asked],
            [r.columns["label"] for r in asked],
            ([i for i, s in enumerate(splits) if s == "val"],
             [i for i, s in enumerate(splits) if s == "train"]),
        )  # fmt: skip
        shown = [
            r for r in rows if r.columns["label"] not in held and r.columns["split"] == "train"
        ]
        samples = Samples("grocery", tuple(r.path for r in shown),
                          tuple(r.columns["label"] for r in shown))  # fmt: skip
        made.append(Task(f"grocery, seen classes, fold {fold}", samples, truth))
    return made


def folds(
    title: str, listed: Sequence[Way], asked: Sequence[Task], work: Path, cache: FeatureCache
) -> list[dict[str, Any]]:
    """Each way on the folds, a seed each: the queries of all folds together, gains paired over the
    first way; the spread is that of the folds' own gains."""
    first: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for way in listed:
        runs = [run_way(way, task, fold, work, cache)
                for fold, task in enumerate(asked)]  # fmt: skip
        first = first or runs
        row: dict[str, Any] = {"way": way.name}
        for m in (*METRICS, "k-NN"):
            mine = [v for r in runs for v in r["values"][m]]
            base = [v for r in first for v in r["values"][m]]
            gains = [float(np.nanmean(r["values"][m]) - np.nanmean(f["values"][m]))
                     for r, f in zip(runs, first, strict=True)]  # fmt: skip
            row[m] = {
                "mean": float(np.nanmean(mine)), "spread": float(np.std(gains)),
                "gain": list(paired_difference(base, mine)),
                "raw": float(np.nanmean([v for r in runs for v in r["raw"][m]])),
            }  # fmt: skip
        row["epoch_s"] = float(np.mean([r["epoch_s"] for r in runs]))
        row["seconds"] = float(np.mean([r["seconds"] for r in runs]))
        rows.append(row)
    show(title, [rows[0], *sorted(rows[1:], key=lambda r: -r["mAP"]["mean"])])
    return rows
