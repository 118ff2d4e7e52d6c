"""What training gains over frozen features, on classes never seen and on known ones.

    python benchmarks/finetune.py --data FOLDER --part recipes    # how the defaults were chosen
    python benchmarks/finetune.py --data FOLDER --part unseen     # grocery: seen → unseen classes
    python benchmarks/finetune.py --data FOLDER --part ways       # frozen … all layers, two sets
    python benchmarks/finetune.py --data FOLDER --part losses     # every loss on the same budget
    python benchmarks/finetune.py --data FOLDER --part unlabelled # without any label
    python benchmarks/finetune.py --smoke                         # a minute: the sample gallery

Each part prints its table and writes benchmarks/results/finetune-PART.json; a result that is there
already is taken from benchmarks/runs/ (not committed), so that an interrupted run goes on. Recipes
were chosen on class folds inside the seen classes: the held-out pictures are asked here, once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import machine, save, say
from training_runs import Task, Way, fold_tasks, folds, show, table, tasks

from cbir.catalog import FeatureCache, default_cache
from cbir.evaluate import from_manifest
from cbir.images import make_sample
from cbir.images.augment import Augmentation
from cbir.present.numbers import number
from cbir.train import samples as sampling
from cbir.train.losses import LOSSES
from cbir.train.recipe import Recipe
from cbir.train.sampling import BatchSpec
from cbir.train.split import SplitSpec
from cbir.train.unlabelled import PRESETS, preset

SEEDS = (0, 1, 2)


def unseen(data: Path, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """Line 1 of what training must show."""
    task = tasks(data)["unseen"]
    ways = [
        Way("frozen", None),
        Way("frozen, 256 px", None, 256),
        Way("projection", Recipe(layers="head")),
        Way("default, all pictures", Recipe(split=SplitSpec(share=0))),
        Way("default, a fifth of the classes kept", Recipe(refit=False)),
    ]
    rows = table(task, ways, SEEDS, work, cache)
    show(task.name, rows)
    return {task.name: rows}


def ways(data: Path, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """Frozen, projection, head, last block, default, all layers: known classes of two sets."""
    whole = Recipe(split=SplitSpec(share=0.0))  # all pictures learn; the last epoch counts
    head = replace(whole, layers="head")
    listed = [
        Way("frozen", None),
        Way("projection", head),
        Way("linear probe", replace(head, head="linear")),
        Way("SVM", replace(head, head="svm")),
        Way("head", replace(head, head="loss", learning_rate=1e-3, epochs=40)),
        Way("last block", replace(whole, layers="last")),
        Way("two thirds (default)", whole),
        Way("all layers", replace(whole, layers="all")),
    ]
    found = {}
    for name in ("grocery", "clothing"):
        task = tasks(data)[name]
        found[task.name] = table(task, listed, SEEDS, work, cache)
        show(task.name, found[task.name])
    return found


TRIAL = Recipe(dims=256, epochs=8, scale=1.0, grow=1.0, split=SplitSpec(share=0.0))
"""All that is not held learns; the last epoch counts."""

CHANGES: dict[str, dict[str, Any]] = {
    "8 epochs, 104 batches": {},
    "16 epochs, 208 batches": {"epochs": 16},
    "12 epochs, 156 batches": {"epochs": 12},
    "rate .0001": {"learning_rate": 1e-4},
    "rate .0005": {"learning_rate": 5e-4},
    "all layers": {"layers": "all"},
    "last block": {"layers": "last"},
    "crops from .6": {"augmentation": Augmentation(crop=0.6)},
    "512 dims": {"dims": 512},
    "no head": {"dims": 0},
    "no head, pictures of .86 the side": {"dims": 0, "scale": 0.86},
    "no head, .86, 16 epochs": {"dims": 0, "scale": 0.86, "epochs": 16},
    "no head, .86, asked at 1.15 the side": {"dims": 0, "scale": 0.86, "grow": 1.15},
    "8 x 6 in a batch": {"batch": BatchSpec(8, 6)},
    "24 x 2 in a batch": {"batch": BatchSpec(24, 2)},
    "colour .2, erasing .3": {"augmentation": Augmentation(colour=0.2, erasing=0.3)},
    "a fifth of the classes kept": {"split": SplitSpec(), "refit": False},
}
"""One setting changed at a time; asked on the first halving."""
FINALISTS = (
    "8 epochs, 104 batches",
    "8 x 6 in a batch",
    "16 epochs, 208 batches",
    "no head",
    "no head, pictures of .86 the side",
    "no head, .86, 16 epochs",
    "no head, .86, asked at 1.15 the side",
)
"""Asked on every halving."""


def recipes(data: Path, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """How the default recipe was chosen."""
    first = [Way("frozen", None), Way("projection", replace(TRIAL, layers="head"))]
    first.append(Way("head alone", replace(first[1].recipe or TRIAL, head="loss", epochs=40,
                                           learning_rate=1e-3)))  # fmt: skip
    every = {name: Way(name, replace(TRIAL, **change)) for name, change in CHANGES.items()}
    asked = fold_tasks(data)
    title = "Recipes: class folds inside grocery's seen classes"
    return {
        "screened": folds(f"{title}, one halving", [*first, *every.values()], asked[:2], work,
                          cache),
        "finalists": folds(f"{title}, two halvings", [*first, *(every[n] for n in FINALISTS)],
                           asked, work, cache),
    }  # fmt: skip


SMALL = 128
"""Input size of the comparison of losses: a third of the time, the same for all."""


def losses(data: Path, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """Every loss with its default settings on the same budget."""
    small = replace(TRIAL, dims=0, epochs=6)
    listed = [Way("frozen", None, SMALL)]
    listed += [Way(name, replace(small, loss=name), SMALL) for name in LOSSES]
    title = "Losses: class folds inside grocery's seen classes, 128 px, 6 epochs"
    return {"losses": folds(title, listed, fold_tasks(data), work, cache)}


def unlabelled(data: Path, work: Path, cache: FeatureCache) -> dict[str, Any]:
    """Without labels, on the training parts of both sets; labels only ask."""
    listed = [Way("frozen", None), *(Way(name, preset(name, {})) for name in PRESETS)]
    found = {}
    for name in ("grocery", "clothing"):
        task = tasks(data)[name]
        found[task.name] = table(task, listed, SEEDS[:1], work, cache)
        show(f"{task.name}, labels not used", found[task.name])
        for row in found[task.name][1:]:
            before, after = row["copies"][0]
            say(f"{row['way']}: mAP of edited copies {number(before['mAP'])} before, "
                f"{number(after['mAP'])} after")  # fmt: skip
    return found


PARTS: dict[str, Callable[[Path, Path, FeatureCache], dict[str, Any]]] = {
    "recipes": recipes, "unseen": unseen, "ways": ways, "losses": losses, "unlabelled": unlabelled,
}  # fmt: skip


def smoke(folder: str) -> None:
    """The whole path on the sample gallery: one epoch at 64 px, and a head in closed form."""
    manifest = make_sample(folder).manifest
    everyone = sampling.from_manifest(manifest, label="label")
    truth = from_manifest(manifest, ["view=original"], ["view!=original"])
    task = Task("sample", everyone, truth)
    ways = [
        Way("frozen", None, 64),
        Way("projection", Recipe(layers="head", split=SplitSpec(duplicate=1.0)), 64),
        Way("default", Recipe(epochs=1, split=SplitSpec(duplicate=1.0)), 64),
    ]
    with FeatureCache(str(Path(folder) / "cache.sqlite")) as cache:
        show("sample", table(task, ways, (0,), Path(folder), cache))


def main() -> None:
    """Run a part, print it, keep it."""
    parser = argparse.ArgumentParser(description="What training gains")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--part", choices=sorted(PARTS), default="unseen")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if chosen.smoke:
        with tempfile.TemporaryDirectory() as folder:
            smoke(folder)
        return
    if chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    work = Path(__file__).parent / "runs"
    work.mkdir(exist_ok=True)
    with FeatureCache(default_cache()) as cache:
        found = PARTS[chosen.part](chosen.data, work, cache)
    say(f"written: {save(f'finetune-{chosen.part}', {'machine': machine(), **found})}")


if __name__ == "__main__":
    main()
