"""`cbir train`: a network from scratch, on pictures whose classes are known."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.labelled import labelled_options, read_samples
from cbir.cli.options import json_option, strict_option

if TYPE_CHECKING:
    from cbir.train.prepared import Prepared
    from cbir.train.samples import Samples
    from cbir.train.scratch import Trained
    from cbir.train.scratch_files import FilesLesson
    from cbir.train.scratch_recipe import ScratchRecipe


@click.command("train", short_help="Train a network from scratch.")
@labelled_options
@click.option("--backbone", required=True, metavar="NAME",
              help="lenet5, alexnet, zfnet, googlenet, resnet18, resnet20, se-resnet18, "
              "se-resnet50, or any other of `cbir models`.")  # fmt: skip
@click.option("-o", "--output", required=True, metavar="EMBEDDER",
              help="Folder for the new embedder; the classifier goes to EMBEDDER.classifier.",
              )  # fmt: skip
@click.option("--cut", metavar="LAYER", default="", help="Layer whose output is the feature. "
              "Default: the last one before the classifier.")  # fmt: skip
@click.option("--input-size", type=int, metavar="PIXELS", help="Side of the square input. "
              "Default: the network's own.")  # fmt: skip
@click.option("--resize", type=click.Choice(["squash", "crop", "pad"]), default="squash",
              show_default=True, help="How a picture becomes square.")  # fmt: skip
@click.option("--epochs", type=int, default=30, show_default=True, metavar="N", help="At most.")
@click.option("--patience", type=int, default=0, show_default=True, metavar="N",
              help="Epochs without a better accuracy before it stops; 0: never.")  # fmt: skip
@click.option("--batch-size", "batch", type=int, default=32, show_default=True, metavar="N",
              help="Pictures in a batch.")  # fmt: skip
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), default="adamw",
              show_default=True, help="sgd has Nesterov momentum 0.9.")  # fmt: skip
@click.option("--learning-rate", type=float, metavar="X", help="At its highest: it rises for an "
              "epoch, then falls to 0. Default: 0.001 for adamw, 0.05 for sgd.")  # fmt: skip
@click.option("--decay", type=float, default=1e-4, show_default=True, metavar="X",
              help="Weight decay.")  # fmt: skip
@click.option("--label-smoothing", "smoothing", type=float, default=0.0, show_default=True,
              metavar="X", help="Share of the target that goes to all classes alike.")  # fmt: skip
@click.option("--augment", multiple=True, metavar="NAME=VALUE",
              help="Random changes: crop, ratio, flip, turn, colour, grey, blur, erasing. flip=0 "
              "where left and right matter, as in writing.")  # fmt: skip
@click.option("--val-share", type=float, default=0.2, show_default=True, metavar="X",
              help="Share of each class for validation; 0: none.")  # fmt: skip
@click.option("--duplicate-score", type=float, default=0.9, show_default=True, metavar="X",
              help="Pictures that score this or more never lie on both sides.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Of everything random.")  # fmt: skip
@strict_option
@json_option
def train_command(folder: str | None, **options: Any) -> None:
    """Train a network from scratch to tell the classes of pictures, and keep it as an embedder.

    Labels come from FOLDER (a folder for each class) or a --manifest. The epoch with the best
    validation accuracy counts. Printed are that accuracy, and how well the network without its
    classifier finds validation pictures' classes among the others, beside the default embedder,
    which learned from ImageNet: with few pictures, that one is better (see cbir finetune).

    A run that was cut off goes on when the same command is given again, to the same result.

    \b
    cbir train digits/ --backbone lenet5 -o embedders/digits --augment flip=0
    cbir index photos/ --embedder embedders/digits -i INDEX
    """
    from cbir.cli.output import EXIT_SKIPPED, failures, quit_with, result
    from cbir.embed.package import check_free

    recipe = _recipe(options)
    samples = read_samples("train", folder, options)
    check_free(os.path.realpath(options["output"]))
    _check_cut(recipe, options["cut"])
    prepared, found, trained, figures = _train(samples, recipe, options)
    failures(prepared.failures)
    if options["as_json"]:
        result(_as_json(prepared, found, trained, figures, options["output"]))
    else:
        result(_as_text(prepared, found, trained, figures, options["output"]))
    if prepared.failures and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _recipe(options: Mapping[str, Any]) -> ScratchRecipe:
    from cbir.backbones import get
    from cbir.cli.augmenting import augmentation
    from cbir.train.scratch_recipe import RATES, ScratchRecipe

    info = get(options["backbone"])
    named = ("resize", "epochs", "patience", "batch", "optimizer", "decay", "smoothing", "seed")
    size, rate = options["input_size"], options["learning_rate"]
    return ScratchRecipe(
        info.name,
        info.input_size if size is None else size,
        learning_rate=RATES[options["optimizer"]] if rate is None else rate,
        augmentation=augmentation(options["augment"]),
        **{name: options[name] for name in named},
    )


def _check_cut(recipe: ScratchRecipe, cut: str) -> None:
    """A cut or a size that does not fit is said before hours of training."""
    from cbir.backbones import backbone
    from cbir.config import EmbedderSpec
    from cbir.embed.quiet import quiet

    with quiet():
        backbone(EmbedderSpec(recipe.backbone, "random:0", cut=cut, input_size=recipe.input_size))


def _train(
    samples: Samples, recipe: ScratchRecipe, options: Mapping[str, Any]
) -> tuple[Prepared, FilesLesson, Trained, Mapping[str, Mapping[str, float]]]:
    """Prepare, train with progress, save, and only then let the checkpoint go."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar, note
    from cbir.config import DEFAULT_EMBEDDER
    from cbir.embed import Embedder
    from cbir.present import count
    from cbir.train.prepared import prepare
    from cbir.train.recipe import Recipe
    from cbir.train.scratch import save_classifier, train
    from cbir.train.scratch_files import card_of, lesson_of, retrieval
    from cbir.train.split import SplitSpec

    how = SplitSpec("image", options["val_share"], options["duplicate_score"], recipe.seed)
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        stock = Embedder.load(DEFAULT_EMBEDDER)
        prepared = prepare(samples, stock, Recipe(split=how), cache, bar)
        found = lesson_of(prepared, recipe, bar)
        bar.close()
        lesson = found.lesson
        note(
            f"{count(len(lesson.train.labels), 'picture')} of "
            f"{count(len(lesson.classes), 'class', 'classes')} to learn from; "
            f"{len(prepared.split.validation)} for validation; {len(prepared.split.left_out)} left "
            "out (too like a validation picture, or without a label)."
        )

        def told(figures: dict[str, float]) -> None:
            bar.close()
            right = f"  accuracy {figures['accuracy']:.3f}" if "accuracy" in figures else ""
            epoch = f"epoch {figures['epoch']:.0f}/{recipe.epochs}  loss {figures['loss']:.3f}"
            note(f"{epoch}{right}  {figures['seconds']:.0f} s")

        work = options["output"].rstrip("/\\") + ".training"
        trained = train(lesson, recipe, work, bar, told)
    figures = retrieval(prepared, found, trained, options["cut"])
    card = card_of(prepared, trained, figures)
    trained.embedder(options["cut"]).save(options["output"], card, prepared.learned())
    save_classifier(trained, _beside(options["output"]))
    trained.finish()
    return prepared, found, trained, figures


def _beside(output: str) -> str:
    return output.rstrip("/\\") + ".classifier"


def _as_text(
    prepared: Prepared, found: FilesLesson, trained: Trained,
    figures: Mapping[str, Mapping[str, float]], output: str,
) -> str:  # fmt: skip
    from cbir.config import DEFAULT_EMBEDDER
    from cbir.present import columns, count, human_duration, visible

    recipe, progress = trained.recipe, trained.progress
    lines = []
    if len(found.lesson.validation.labels):
        lines.append(
            f"{recipe.backbone}, best epoch {progress.best + 1} of {progress.epochs}: accuracy "
            f"{progress.best_score:.3f} on {count(len(found.lesson.validation.labels), 'picture')}"
        )
    if found.unknown:
        lines.append(f"{count(found.unknown, 'validation picture')} of classes that are not "
                     "trained: not in the accuracy.")  # fmt: skip
    text = "".join(line + "\n" for line in lines)
    if figures:
        names = {"scratch": f"{recipe.backbone}, from scratch", "stock": DEFAULT_EMBEDDER}
        metrics = list(figures["scratch"])
        rows = [(names[key], *(f"{row[m]:.3f}" for m in metrics)) for key, row in figures.items()]
        asked = prepared.validation
        assert asked is not None
        text += (
            f"\nRetrieval, {count(len(asked.truth.queries), 'query', 'queries')} against "
            f"{count(len(asked.truth.gallery), 'image')}:\n"
            + columns(("system", *metrics), rows) + "\n"
        )  # fmt: skip
    return text + (
        f"embedder in {visible(output)}, classifier in {visible(_beside(output))}; "
        f"{human_duration(trained.seconds)}\n"
    )


def _as_json(
    prepared: Prepared, found: FilesLesson, trained: Trained,
    figures: Mapping[str, Mapping[str, float]], output: str,
) -> str:  # fmt: skip
    from cbir.cli.benchmark.common import machine, plain

    made = {
        "embedder": output,
        "classifier": _beside(output),
        "recipe": trained.recipe.to_dict(),
        "classes": len(trained.classes),
        "train": len(found.lesson.train.labels),
        "validation": len(found.lesson.validation.labels),
        "not_trained": found.unknown,
        "left_out": len(prepared.split.left_out),
        "failures": len(prepared.failures),
        "best_epoch": trained.progress.best + 1,
        "history": trained.progress.history,
        "accuracy": trained.progress.best_score if len(found.lesson.validation.labels) else None,
        "retrieval": {name: plain(row) for name, row in figures.items()},
        "seconds": round(trained.seconds, 1),
        "machine": machine(),
    }
    return json.dumps(made, indent=2) + "\n"
