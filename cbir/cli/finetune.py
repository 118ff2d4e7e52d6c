"""`cbir finetune`: adapt an embedder to labelled pictures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.labelled import labelled_options, read_samples
from cbir.cli.options import backbone_options, json_option, strict_option

if TYPE_CHECKING:
    from cbir.embed import Embedder
    from cbir.train.finetune import Outcome
    from cbir.train.prepared import Prepared
    from cbir.train.recipe import Recipe
    from cbir.train.samples import Samples


@click.command("finetune", short_help="Adapt an embedder to labelled pictures.")
@labelled_options
@click.option("--pairs", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
              help="Columns path,other,same (1 or 0), or path,positive,negative.")  # fmt: skip
@click.option("-o", "--output", required=True, metavar="EMBEDDER",
              help="Folder for the new embedder.")  # fmt: skip
@click.option("--embedder", metavar="NAME|DIR",
              help="What to begin with: a backbone (`cbir models` lists them) or the folder of a "
              "saved embedder. Default: efficientnet-lite0.")  # fmt: skip
@backbone_options
@click.option("--unlabelled", metavar="METHOD",
              help="Learn without labels: simclr, clusters or self-queries. Labels, where some "
              "are known, only check the result.")  # fmt: skip
@click.option("--force", is_flag=True,
              help="With --unlabelled: save the embedder even where a check "
              "is worse.")  # fmt: skip
@click.option("--layers", metavar="PLAN", show_default="share:0.67",
              help="What learns: head (a linear layer on frozen features: seconds), last (the last "
              "stage), blocks:N, share:X, all, from:LAYER, or a pattern of names.")  # fmt: skip
@click.option("--head", metavar="KIND",
              help="With --layers head: projection (closed form; default), linear, svm, or loss "
              "(by gradient).")  # fmt: skip
@click.option("--loss", metavar="NAME", show_default="proxy-anchor",
              help="`cbir finetune --losses` lists them.")  # fmt: skip
@click.option("--loss-option", "loss_options", multiple=True, metavar="NAME=VALUE",
              help="Of the loss; may be given several times.")  # fmt: skip
@click.option("--memory", type=int, metavar="N", help="Past embeddings that pair losses compare "
              "with, too. Default: none.")  # fmt: skip
@click.option("--dims", type=int, metavar="N", help="Length of a new linear layer on top; 0: "
              "none. Default: none; 256 with --layers head or --unlabelled.")  # fmt: skip
@click.option("--epochs", type=int, metavar="N", help="At most. Default: as many as make 200 "
              "batches, 4 to 20; 40 with --head loss.")  # fmt: skip
@click.option("--patience", type=int, metavar="N", help="Epochs without a better MAP@R before it "
              "stops; 0: never. Default: 3.")  # fmt: skip
@click.option("--learning-rate", type=float, metavar="X", help="Of the network, at its highest: a "
              "cosine falls from there to 0. Default: 0.0003.")  # fmt: skip
@click.option("--head-factor", type=float, metavar="X", help="Times as fast a new layer learns. "
              "Default: 1.")  # fmt: skip
@click.option("--loss-factor", type=float, metavar="X", help="And the weights of the loss, such as "
              "proxies. Default: 100.")  # fmt: skip
@click.option("--warm", type=float, metavar="EPOCHS", help="While the rate rises. Default: 0.5.")
@click.option("--wait", type=float, metavar="EPOCHS", help="While only a new layer and the loss "
              "learn. Default: 0.")  # fmt: skip
@click.option("--decay", type=float, metavar="X", help="Weight decay. Default: 0.0001.")
@click.option("--batch", metavar="CxM", help="Classes and images of each in a batch. "
              "Default: 12x4.")  # fmt: skip
@click.option("--accumulate", type=int, metavar="N", help="Batches before a step. Default: 1.")
@click.option("--devices", type=int, metavar="N", help="GPUs that share each batch. Default: 1.")
@click.option("--augment", multiple=True, metavar="NAME=VALUE",
              help="Random changes: crop, ratio, flip, turn, colour, grey, blur, erasing. flip=0 "
              "where left and right matter; colour and grey stay 0 where colour does.")  # fmt: skip
@click.option("--scale", type=float, metavar="X", help="Side of the pictures in training, over "
              "--input-size (to a multiple of 32). Default: 0.86: 192 for 224.")  # fmt: skip
@click.option("--grow", type=float, metavar="X", help="Side of the pictures that the new embedder "
              "takes, over --input-size (to a multiple of 32). Default: 1.15: 256 for 224, which "
              "finds more and takes 1.3 times as long; 1 for a saved embedder.")  # fmt: skip
@click.option("--train-norms", is_flag=True, help="Let BatchNorm learn too (large sets only).")
@click.option("--precision", metavar="NAME", help="float32 (default), mixed_bfloat16, "
              "mixed_float16.")  # fmt: skip
@click.option("--split", "kind", type=click.Choice(["class", "image"]),
              help="Validation by whole classes (default where there are 20 or more) or by "
              "images.")  # fmt: skip
@click.option("--val-share", type=float, metavar="X", help="Share for validation; 0: none. "
              "Default: 0.2.")  # fmt: skip
@click.option("--refit/--no-refit", default=None,
              help="Where the mean of MAP@R rose, train once more on all pictures, those of "
              "validation too (twice the time), and save that. Default: yes; never with "
              "--val-where, --val-share 0 or --unlabelled.",
              )  # fmt: skip
@click.option("--duplicate-score", type=float, metavar="X",
              help="Pictures that score this or more never lie on both sides. Default: 0.9.",
              )  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Default: 0.")
@click.option("--html", metavar="FILE", help="Also write a report with curves and pictures.")
@click.option("--losses", "list_losses", is_flag=True, is_eager=True, expose_value=False,
              callback=lambda context, _, on: _list_losses(context) if on else None,
              help="List the losses and their options.")  # fmt: skip
@strict_option
@json_option
def finetune_command(folder: str | None, **options: Any) -> None:
    """Train an embedder on pictures whose classes are known, so that it finds them better.

    Labels come from FOLDER (a folder for each class), a --manifest or --pairs. A part is kept for
    validation: whole classes where there are 20 or more, so that what is measured is how well it
    does on things it never saw, else pictures of each class. Near-duplicates never lie on both
    sides. The best epoch counts, and is compared with the plain embedder on the same queries; where
    it is not better, that is said. As the epoch was chosen on these queries, the gain is a little
    flattered: cbir adopt asks the gallery itself. Where the mean rose, the training is done once
    more on all pictures, those of validation too, and that embedder is saved.

    A run that was cut off goes on when the same command is given again, to the same result.

    \b
    cbir finetune photos/ -o embedders/mine               learn from folders
    cbir finetune photos/ -o embedders/mine --layers head  seconds instead of minutes
    cbir adopt embedders/mine -i INDEX                    use it for an index, if it is better
    """
    from cbir.cli.benchmark.common import check_html
    from cbir.cli.output import EXIT_FAULTS, EXIT_SKIPPED, failures, note, quit_with, result
    from cbir.embed.package import check_free

    check_html(options["html"])
    recipe = _recipe(options)
    samples = read_samples("finetune", folder, options)
    check_free(os.path.realpath(options["output"]))
    base = _base(options)
    outcome, recipe = _train(samples, base, recipe, options)
    from cbir.cli.finetune_report import as_json, as_text
    from cbir.train.results import refused

    if options["html"]:
        from cbir.cli.finetune_html import write_report

        write_report(options["html"], outcome, recipe)
    skipped = outcome.prepared.failures
    failures(skipped)
    report = as_json if options["as_json"] else as_text
    result(report(outcome, recipe, options["output"]))
    if refused(outcome, recipe) and not options["force"]:
        note(
            f"Not saved. The same command with --force saves it, without training again; "
            f"{options['output']}.training may be removed."
        )
        quit_with(EXIT_FAULTS)
    if skipped and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _list_losses(context: click.Context) -> None:
    from cbir.cli.output import result
    from cbir.present import columns
    from cbir.train.losses import LOSSES

    rows = [
        (info.name, info.kind, info.paper, " ".join(f"{o.name}={o.default}" for o in info.options))
        for info in LOSSES.values()
    ]
    result(columns(("loss", "kind", "paper", "options"), rows))
    context.exit()


def _recipe(options: dict[str, Any]) -> Recipe:
    """The default recipe with what is named changed."""
    from cbir.cli.augmenting import augmentation
    from cbir.errors import UsageError
    from cbir.train.recipe import Recipe

    named = {
        "layers", "head", "loss", "memory", "dims", "epochs", "patience", "learning_rate",
        "accumulate", "devices", "precision", "seed", "head_factor", "loss_factor", "warm",
        "wait", "decay", "refit", "scale", "grow",
    }  # fmt: skip
    changes: dict[str, Any] = {k: options[k] for k in named if options[k] is not None}
    changes["train_norms"] = options["train_norms"]
    changes["loss_options"] = tuple(options["loss_options"])
    if options["head"] and options["layers"] != "head":
        raise UsageError(f"--head: expected together with --layers head; received --layers "
                         f"{options['layers'] or 'share:0.67'}.")  # fmt: skip
    if options["refit"]:
        _check_refit(options)
    if options["layers"] == "head" and options["head"] != "loss":
        _check_closed_form(options)
    if options["head"] == "loss":  # a layer alone learns faster, and an epoch takes a second
        changes = {"epochs": 40, "patience": 10, "learning_rate": 1e-3, **changes}
    changes["split"] = _split(options)
    if options["batch"]:
        changes["batch"] = _batch(options["batch"])
    if options["augment"] or not options["unlabelled"]:
        changes["augmentation"] = augmentation(options["augment"])
    if options["unlabelled"]:
        from cbir.train.unlabelled import preset

        return preset(options["unlabelled"], changes)
    return Recipe(**changes)


BY_GRADIENT = ("loss", "loss_options", "memory", "epochs", "patience", "learning_rate", "batch",
               "accumulate", "devices", "augment", "scale", "grow", "train_norms",
               "precision")  # fmt: skip


def _check_refit(options: dict[str, Any]) -> None:
    """UsageError where a second training is asked for, and there can be none."""
    from cbir.errors import UsageError

    reasons = {
        "--val-where": bool(options["val_where"]), "--unlabelled": bool(options["unlabelled"]),
        "--val-share 0": options["val_share"] == 0,
    }  # fmt: skip
    for name, given in reasons.items():
        if given:
            raise UsageError(
                f"--refit: expected without {name}: a second training on all pictures follows a "
                "first one that was measured, and takes no picture that somebody keeps. Leave one "
                "of them out."
            )


def _check_closed_form(options: dict[str, Any]) -> None:
    """A head that is fitted at once has no epochs, no loss, ...: UsageError where one is named."""
    from cbir.errors import UsageError

    for name in BY_GRADIENT:
        value = options[name]
        if value is not None and value is not False and value != ():
            given = "loss-option" if name == "loss_options" else name.replace("_", "-")
            raise UsageError(
                f"--{given}: expected with layers that learn by gradient; --layers head fits "
                f"{options['head'] or 'projection'} at once. Add --head loss, or leave it out."
            )


def _split(options: dict[str, Any]) -> Any:
    from cbir.train.split import SplitSpec

    known = options["head"] in ("linear", "svm")  # they know the classes that they saw
    named = {"kind": options["kind"] or ("image" if known else None), "share": options["val_share"],
             "duplicate": options["duplicate_score"], "seed": options["seed"]}  # fmt: skip
    return SplitSpec(**{k: v for k, v in named.items() if v is not None})


def _batch(text: str) -> Any:
    from cbir.errors import UsageError
    from cbir.train.sampling import BatchSpec

    classes, _, images = text.lower().partition("x")
    if not classes.isdecimal() or not images.isdecimal():
        raise UsageError(f"--batch: expected CLASSESxIMAGES, such as 12x4; received {text!r}.")
    return BatchSpec(int(classes), int(images))


def _base(options: dict[str, Any]) -> Embedder:
    from cbir.config import DEFAULT_EMBEDDER
    from cbir.embed import Embedder

    return Embedder.load(
        options["embedder"] or DEFAULT_EMBEDDER, cut=options["cut"],
        input_size=options["input_size"], resize=options["resize"],
        weights_file=options["weights"],
    )  # fmt: skip


def _prepared(samples: Samples, base: Embedder, recipe: Recipe, cache: Any, bar: Any) -> Prepared:
    if recipe.unlabelled:
        from cbir.train.unlabelled import prepare_unlabelled

        return prepare_unlabelled(samples, base, recipe, cache, bar)
    from cbir.train.prepared import prepare

    return prepare(samples, base, recipe, cache, bar)


def _train(
    samples: Samples, base: Embedder, recipe: Recipe, options: dict[str, Any]
) -> tuple[Outcome, Recipe]:
    """Prepare, train with progress, save, and only then let the checkpoint go; with the outcome,
    the recipe as it was carried out."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.finetune_report import epoch_line, split_lines
    from cbir.cli.output import Bar, note
    from cbir.train.finetune import finetune, planned
    from cbir.train.results import card_of, refused

    with FeatureCache(default_cache()) as cache, Bar() as bar:
        prepared = _prepared(samples, base, recipe, cache, bar)
        shown = planned(prepared, recipe)
        bar.close()
        for line in split_lines(prepared, shown):
            note(line)

        def told(figures: dict[str, float]) -> None:
            bar.close()
            note(epoch_line(figures, shown))

        work = options["output"].rstrip("/\\") + ".training"
        outcome = finetune(prepared, base, recipe, work, bar, told)
        if recipe.unlabelled:
            from cbir.train.unlabelled import label_check

            outcome.check = label_check(samples, prepared, base, outcome.embedder, bar)
    if options["force"] or not refused(outcome, shown):
        outcome.embedder.save(options["output"], card_of(outcome, base, shown))
        outcome.finish()
    return outcome, shown
