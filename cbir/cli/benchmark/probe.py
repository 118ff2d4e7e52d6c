"""`cbir benchmark probe`: simple classifiers on embeddings, over training images a class."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import load_embedder
from cbir.cli.benchmark.probe_report import as_json, as_page, as_text
from cbir.cli.options import json_option, runtime_options, strict_option

if TYPE_CHECKING:
    from cbir.evaluate import Parts, Probe, ProbeSpec
    from cbir.evaluate.heads import Head

EMBEDDERS = ("efficientnet-lite0", "classical/combined")


@click.command("probe", short_help="How few labelled images do? Linear SVM and k-NN on embeddings.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
              help="Columns path (relative to the CSV), label, and any others.")  # fmt: skip
@click.option("--train-where", multiple=True, metavar="TERM",
              help="Which images train; together with --test-where. Default: of each class, half "
              "of the images, drawn by the seed.")  # fmt: skip
@click.option("--test-where", multiple=True, metavar="TERM", help="Which images test.")
@click.option("--embedder", "embedders", multiple=True, metavar="NAME|DIR", default=EMBEDDERS,
              show_default="efficientnet-lite0, classical/combined",
              help="Backbone, folder of a saved embedder, or classical/NAME; may be given several "
              "times.")  # fmt: skip
@click.option("--head", "heads", multiple=True, metavar="NAME", show_default="all: svm, knn",
              help="Classifier; may be given several times.")  # fmt: skip
@click.option("--per-class", metavar="N,...", default="1,2,5,10,all", show_default=True,
              help="Training images of each class.")  # fmt: skip
@click.option("--draws", type=click.IntRange(min=1), metavar="N", default=5, show_default=True,
              help="How often training images are drawn.")  # fmt: skip
@click.option("--dims", type=click.IntRange(min=1), metavar="N", default=256, show_default=True,
              help="Length of an embedding, at most.")  # fmt: skip
@click.option("--projection", type=click.Choice(["pca", "none"]), default="pca", show_default=True,
              help="How features become embeddings, as of cbir index.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
              help="Of the draws and of the split.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Also write a page with a plot.")
@runtime_options
@strict_option
@json_option
def probe_command(folder: str | None, **options: Any) -> None:
    """Measure how few labelled images are enough to tell classes apart.

    On the embeddings of each embedder a linear SVM and k-NN are trained with 1, 2, 5, ... images of
    each class, and asked about test images. Labels come from FOLDER (a folder for each class) or
    from a --manifest. C and k are chosen by cross-validation on the training images alone.
    Embeddings are made as cbir index makes them, from the training images without their labels.

    With --train-where and --test-where, choose parts that share no scene: of photos shot in a
    burst, one half would give the other away.
    """
    from cbir import evaluate, present
    from cbir.cli.output import EXIT_SKIPPED, failures, quit_with, result

    heads = _heads(options["heads"])
    spec = evaluate.ProbeSpec(
        _per_class(options["per_class"]), options["draws"], options["seed"], options["dims"],
        options["projection"],
    )  # fmt: skip
    parts = _parts(folder, options)
    found = _measured(parts, options["embedders"], spec, heads)
    if options["html"]:
        present.write_page(options["html"], as_page(found))
    result(as_json(found) if options["as_json"] else as_text(found))
    failures(found.failures)
    if found.failures and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _heads(names: tuple[str, ...]) -> dict[str, Head]:
    from cbir.errors import UsageError
    from cbir.evaluate.heads import HEADS

    unknown = [name for name in names if name not in HEADS]
    if unknown:
        raise UsageError(f"--head: expected one of {', '.join(HEADS)}; received {unknown[0]!r}.")
    return {name: HEADS[name] for name in names or HEADS}


def _per_class(text: str) -> tuple[int, ...]:
    from cbir.errors import UsageError
    from cbir.evaluate import ALL

    found = set()
    for part in text.split(","):
        word = part.strip().lower()
        if word != "all" and not (word.isascii() and word.isdigit() and int(word) > 0):
            raise UsageError(
                f"--per-class: expected numbers from 1 on, or all, with commas between them; "
                f"received {part.strip()!r}."
            )
        found.add(ALL if word == "all" else int(word))
    return tuple(sorted(found - {ALL})) + ((ALL,) if ALL in found else ())


def _parts(folder: str | None, options: dict[str, Any]) -> Parts:
    from cbir import evaluate
    from cbir.errors import UsageError

    manifest, train, test = (options[n] for n in ("manifest", "train_where", "test_where"))
    if bool(folder) == bool(manifest):
        raise UsageError(
            "benchmark probe: expected either FOLDER or --manifest CSV; received "
            f"{'both' if folder else 'neither'}."
        )
    if bool(train) != bool(test) or (train and not manifest):
        raise UsageError(
            "--train-where, --test-where: expected both, together with --manifest, or neither."
        )
    if folder:
        return evaluate.parts_of(evaluate.from_folders(folder), options["seed"])
    truth = evaluate.from_manifest(manifest, test, train)
    if train:
        name = os.path.basename(os.path.dirname(os.path.abspath(manifest))) or manifest
        truth = replace(truth, name=f"{name}, {' '.join(train)} → {' '.join(test)}")
    return evaluate.parts_of(truth, options["seed"])


def _measured(
    parts: Parts, names: tuple[str, ...], spec: ProbeSpec, heads: dict[str, Head]
) -> Probe:
    from cbir import evaluate
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar

    embedders = {name: load_embedder(name) for name in names}
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        bar.stage("probe", evaluate.probe_steps(parts, len(embedders), spec, len(heads)))
        return evaluate.probe(parts, embedders, spec, heads=heads, cache=cache, advance=bar.advance)
