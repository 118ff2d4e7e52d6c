"""Three ways to use a CNN, over the number of training images: from scratch, transfer, fine-tuned.

    python benchmarks/ways.py --data FOLDER        # with clothing/ in it; an hour
    python benchmarks/ways.py --smoke              # a minute: the sample gallery

Scratch: SE-ResNet-18 at 64 px trained on the classes alone. Transfer: EfficientNet-Lite0 as it is,
a linear SVM on its features. Fine-tuned: the default recipe, then the same SVM on the new features.
Asked: the class of validation pictures, and retrieval among the training pictures. Each size is so
many pictures a class, nested, drawn by a seed. Writes benchmarks/results/ways.json and ways.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, save, say

from cbir import Embedder
from cbir.catalog import FeatureCache, default_cache
from cbir.embed import Projection
from cbir.evaluate.embedding import embed_files
from cbir.evaluate.ground_truth import from_labels
from cbir.evaluate.heads import linear_svm
from cbir.evaluate.metrics import bootstrap_interval
from cbir.evaluate.protocol import per_query, rank
from cbir.images import make_sample
from cbir.lifecycle.sync import Silent
from cbir.present.numbers import number
from cbir.train import samples as sampling
from cbir.train.classifying import logits_of
from cbir.train.finetune import finetune
from cbir.train.pictures import MARGIN, read_pictures
from cbir.train.prepared import prepare
from cbir.train.recipe import Recipe
from cbir.train.samples import Samples
from cbir.train.scratch import Labelled, Lesson, train
from cbir.train.scratch_recipe import ScratchRecipe
from cbir.train.split import SplitSpec

SIZES = (5, 20, 80, 0)
"""Pictures a class; 0: all."""
WAYS = ("scratch", "transfer", "fine-tuned")


def nested(samples: Samples, each: int, seed: int) -> Samples:
    """So many pictures of each class: more of them hold fewer of them."""
    labels = samples.numbers()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(samples))
    rows = [i for c in np.unique(labels) for i in [r for r in order.tolist() if labels[r] == c][
        : each or None]]  # fmt: skip
    return samples.take(sorted(rows))


def scratch(part: Samples, asked: Samples, work: str, epochs: int, size: int) -> dict[str, Any]:
    """The classifier's own answers, and its features' retrieval."""
    recipe = ScratchRecipe("se-resnet18", size, epochs=epochs, smoothing=0.1)
    spec = Embedder.load("efficientnet-lite0", input_size=size).spec
    shown = read_pictures(part.paths, spec, MARGIN).pixels
    test = read_pictures(asked.paths, spec, 1.0).pixels
    none = Labelled(test[:0], asked.numbers()[:0])  # the last epoch: no picture is spared
    lesson = Lesson(Labelled(shown, part.numbers()), none, part.classes())
    trained = train(lesson, recipe, work, Silent())
    right = logits_of(trained.model, test).argmax(axis=1) == asked.numbers()
    made = trained.embedder()
    plain = read_pictures(part.paths, spec, 1.0).pixels
    trained.finish()
    return {"right": right.tolist(), **retrieval(made.features(plain), made.features(test), part,
                                                 asked)}  # fmt: skip


def on_features(gallery: Any, queries: Any, part: Samples, asked: Samples) -> dict[str, Any]:
    """A linear SVM on features, and retrieval by them."""
    unit = Projection.none(gallery.shape[1])
    machine_ = linear_svm(unit.apply(gallery), part.numbers())
    right = machine_.predict(unit.apply(queries)) == asked.numbers()
    return {"right": right.tolist(), **retrieval(gallery, queries, part, asked)}


def retrieval(gallery: Any, queries: Any, part: Samples, asked: Samples) -> dict[str, Any]:
    """mAP of each query among the training pictures."""
    n, q = len(part), len(asked)
    truth = from_labels("ways", (*part.paths, *asked.paths), (*part.labels, *asked.labels),
                        (range(n, n + q), range(n)))  # fmt: skip
    unit = Projection.none(gallery.shape[1])
    answers = rank(truth, unit.apply(queries), unit.apply(gallery), "way")
    return {"mAP": [float(v) for v in per_query(answers)["mAP"]]}


def tuned(part: Samples, asked: Samples, work: str, cache: FeatureCache, epochs: int) -> Any:
    """The default recipe on all pictures, none kept for validation; epochs 0: as by default."""
    base = Embedder.load("efficientnet-lite0")
    recipe = Recipe(epochs=epochs, split=SplitSpec("image", 0.0))
    ready = prepare(part, base, recipe, cache, Silent())
    out = finetune(ready, base, recipe, work, Silent())
    out.finish()
    features = [embed_files(s.paths, out.embedder).features for s in (part, asked)]
    return on_features(features[0], features[1], part, asked)


def measured(
    everyone: Samples, asked: Samples, work: Path, cache: FeatureCache, quick: bool
) -> list[dict[str, Any]]:
    """All ways at all sizes; what is there already is not made again."""
    base = Embedder.load("efficientnet-lite0")
    rows = []
    for each in (1, 0) if quick else SIZES:
        part = nested(everyone, each, 0)
        for way in WAYS:
            file = work / f"ways-{way}-{each}.json"
            if not file.exists():
                start = time.perf_counter()
                folder = str(work / f"ways-{way}-{each}.training")
                if way == "scratch":
                    epochs = 1 if quick else 60 if len(part) < 500 else 30
                    made = scratch(part, asked, folder, epochs, 32 if quick else 64)
                elif way == "transfer":
                    found = [embed_files(s.paths, base, cache).features for s in (part, asked)]
                    made = on_features(found[0], found[1], part, asked)
                else:
                    made = tuned(part, asked, folder, cache, 1 if quick else 0)
                made["seconds"] = time.perf_counter() - start
                file.write_text(json.dumps(made), encoding="utf-8")
            made = json.loads(file.read_text(encoding="utf-8"))
            right = [float(r) for r in made["right"]]
            row = {
                "way": way, "each": each, "images": len(part), "accuracy": float(np.mean(right)),
                "interval": list(bootstrap_interval(right)), "mAP": float(np.nanmean(made["mAP"])),
                "seconds": made["seconds"],
            }  # fmt: skip
            rows.append(row)
            say(f"| {way} | {each or 'all'} | {len(part):,} | {number(row['accuracy'])} "
                f"({number(row['interval'][0])} to {number(row['interval'][1])}) | "
                f"{number(row['mAP'])} | {row['seconds']:.0f} |")  # fmt: skip
    return rows


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Accuracy over training images, one line a way, intervals as bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for way, style, colour in zip(WAYS, ("s--", "^:", "o-"), ("#b3561b", "#2f7d4f", "#2457a6"),
                                  strict=True):  # fmt: skip
        mine = [row for row in rows if row["way"] == way]
        x = [row["images"] for row in mine]
        low, high = zip(*(row["interval"] for row in mine), strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, [row["accuracy"] for row in mine], style, color=colour, label=way)
    axes.set_xscale("log")
    counts = sorted({row["images"] for row in rows})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("training images (logarithmic)")
    axes.set_ylabel("accuracy on validation images")
    axes.grid(True, alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=130)


def main() -> None:
    """Measure, print, draw, keep."""
    parser = argparse.ArgumentParser(description="Three ways to use a CNN")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    say("| way | images a class | images | accuracy (95 %) | mAP | s |\n|---|---|---|---|---|---|")
    if chosen.smoke:
        with tempfile.TemporaryDirectory() as folder:
            manifest = make_sample(folder).manifest
            everyone = sampling.from_manifest(manifest, ["view!=original"])
            asked = sampling.from_manifest(manifest, ["view=original"])
            with FeatureCache(str(Path(folder) / "cache.sqlite")) as cache:
                rows = measured(everyone, asked, Path(folder), cache, quick=True)
            plot(rows, Path(folder) / "ways.png")
        return
    manifest = str(chosen.data / "clothing" / "manifest.csv")
    everyone = sampling.from_manifest(manifest, ["split=train"])
    asked = sampling.from_manifest(manifest, ["split=validation"])
    work = Path(__file__).parent / "runs"
    work.mkdir(exist_ok=True)
    with FeatureCache(default_cache()) as cache:
        rows = measured(everyone, asked, work, cache, quick=False)
    file = save("ways", {"machine": machine(), "clothing": rows})
    plot(rows, file.with_suffix(".png"))
    say(f"written: {file}")


if __name__ == "__main__":
    main()
