"""`cbir models`: which embedders there are, what they are, and what they were measured at here."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.options import json_option, runtime_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbir.embed.shelf import OwnEmbedder
    from cbir.evaluate.measured import Measurement


@click.command("models", short_help="List embedders; measure them.")
@click.argument("what", nargs=-1, metavar="[NAME|DIR]...")
@click.option("--in", "folders", multiple=True, metavar="FOLDER",
              help="Where own embedders are; may be repeated. Default: $CBIR_EMBEDDERS (a path "
              "list), else embedders/.")  # fmt: skip
@click.option("--measure", is_flag=True,
              help="Measure speed and quality of the named embedders (default: all that are here) "
              "on the pictures of FOLDER (a folder for each class) or --manifest.")  # fmt: skip
@click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
              help="With --measure: CSV with the columns path and label.")  # fmt: skip
@click.option("--query-where", multiple=True, metavar="TERM",
              help="With --manifest: which images are queries. Default: all.")  # fmt: skip
@click.option("--gallery-where", multiple=True, metavar="TERM",
              help="With --manifest: which images may be found. Default: all.")  # fmt: skip
@runtime_options
@json_option
def models_command(what: tuple[str, ...], **options: Any) -> None:
    """List the backbones that `--embedder` takes, and own embedders (folders).

    With the NAME of a backbone: the layers where it may be cut. With the folder of an own
    embedder: its model card.

    Weights: `here` can be used now; `fetch` are fetched by Keras on first use, or given with
    --weights FILE; `install` come with the package that is named; `train`: there are none, so
    that the network is trained first (cbir train). Licences are those of the weights. Images/s,
    recall@1 and mAP are of this machine and of the pictures that were measured last (--measure
    [NAME|DIR]... FOLDER); --json has all.
    """
    from cbir.cli.output import note
    from cbir.embed.shelf import own_embedders, places
    from cbir.errors import UsageError

    for name in ("manifest", "query_where", "gallery_where"):
        if options[name] and not options["measure"]:
            raise UsageError(
                f"--{name.replace('_', '-')}: expected with --measure; received without."
            )
    if what and not options["measure"]:
        if len(what) > 1:
            raise UsageError(f"models: expected one NAME or DIR; received {len(what)}.")
        _show(what[0], options["as_json"])
        return
    own, failed = own_embedders(places(options["folders"]))
    for failure in failed:
        note(f"Left out: {failure.reason}")
    if options["measure"]:
        _measure(what, own, options)
    _list(own, options["as_json"])


def _show(what: str, as_json: bool) -> None:
    """The layers of a backbone, or the card of an own embedder."""
    from cbir.backbones import cuts, get
    from cbir.cli.output import result
    from cbir.embed.card import readme
    from cbir.embed.package import read_description
    from cbir.embed.shelf import read_own
    from cbir.present import columns, visible

    if os.path.isdir(what):
        own = read_own(what)
        description = read_description(what)
        if as_json:
            result(json.dumps({"folder": what, **description}, indent=2) + "\n")
        else:
            text = readme(own.spec, own.fingerprint, own.feature_dims,
                          description.get("made_with", {}), own.card)  # fmt: skip
            result("\n".join(visible(line) for line in text.splitlines()) + "\n")
        return
    layers = cuts(get(what).name)
    if as_json:
        shaped = [{"layer": layer, "shape": list(shape)} for layer, shape in layers]
        result(json.dumps(shaped, indent=2) + "\n")
    else:
        rows = [(layer, " x ".join(str(n) for n in shape)) for layer, shape in layers]
        result(columns(("layer", "output"), rows))


# -- listing -----------------------------------------------------------------------------------


def _list(own: Sequence[OwnEmbedder], as_json: bool) -> None:
    from cbir.backbones import model_table
    from cbir.cli.output import result
    from cbir.config import EmbedderSpec
    from cbir.evaluate.measured import latest, this_machine
    from cbir.present import columns

    found = _kept()
    specs = {
        str(model["name"]): EmbedderSpec(
            backbone=str(model["name"]), input_size=int(model["input"])
        ).canonical()
        for model in model_table()
    }
    if as_json:
        result(json.dumps(_everything(own, found, specs), indent=2) + "\n")
        return
    shown = latest(found, this_machine()[0])
    by_spec = {one.spec: one for one in shown}
    header = ("name", "dims", "input", "parameters", "weights", "licence")
    rows = [
        tuple(model[key] for key in header) + _figures(by_spec.get(specs[str(model["name"])]))
        for model in model_table()
    ]
    more = ("images/s", "recall@1", "mAP") if shown else ()
    if not shown:
        rows = [row[: len(header)] for row in rows]
    text = columns((*header, *more), rows)
    if own:
        text += "\n" + _own_table(own, {one.fingerprint: one for one in shown})
    if shown:
        first = shown[0]
        text += (
            f"\nMeasured on {first.protocol} ({first.queries:,} queries, {first.gallery:,} in the "
            f"gallery), {first.at[:10]}, on {first.processor}.\n"
        )
    result(text)


def _figures(one: Measurement | None) -> tuple[str, str, str]:
    from cbir.present.numbers import number

    if one is None:
        return ("-", "-", "-")
    return (f"{one.images_per_second:.1f}", number(one.metrics["recall@1"]),
            number(one.metrics["mAP"]))  # fmt: skip


def _own_table(own: Sequence[OwnEmbedder], measured: dict[str, Measurement]) -> str:
    """Own embedders; what a card says it gained stands apart from what was measured here."""
    from cbir.present import columns

    header = ("own", "dims", "input", "parameters", "weights", "licence", "date")
    rows, lines = [], []
    for one in own:
        card = one.card
        row: tuple[Any, ...] = (
            one.name, one.feature_dims, one.spec.input_size, one.parameters,
            one.spec.weights, card.licence if card else "-", card.created[:10] if card else "-",
        )  # fmt: skip
        rows.append(row + _figures(measured.get(one.fingerprint)) if measured else row)
        lines += _told(one)
    more = ("images/s", "recall@1", "mAP") if measured else ()
    return columns((*header, *more), rows) + "\n" + "\n".join(_safe(line) for line in lines) + "\n"


def _told(own: OwnEmbedder) -> list[str]:
    """The folder, the base, and the headline figures of the card: a line each."""
    from cbir.present.numbers import number

    lines = [f"{own.name}: {own.folder}"]
    if own.card is None:
        return [*lines, f"    from {own.spec.backbone}, without a model card"]
    figures = [
        f"{metric} {number(values['before'])} to {number(values['after'])}"
        for metric, values in own.card.headline().items()
        if isinstance(values.get("before"), float) and isinstance(values.get("after"), float)
    ]
    lines.append(f"    from {own.card.base}")
    return [*lines, f"    by its card: {', '.join(figures[:3])}"] if figures else lines


def _safe(line: str) -> str:
    from cbir.present import visible

    return visible(line)


def _everything(
    own: Sequence[OwnEmbedder], found: Sequence[Measurement], specs: dict[str, str]
) -> list[dict[str, Any]]:
    """All embedders with all that is known of them, for JSON."""
    from dataclasses import asdict

    from cbir.backbones import model_table

    listed: list[dict[str, Any]] = [
        {"kind": "stock", **model,
         "measured": [asdict(m) for m in found if m.spec == specs[str(model["name"])]]}
        for model in model_table()
    ]  # fmt: skip
    listed += [
        {"kind": "own", "name": one.name, "folder": one.folder, "dims": one.feature_dims,
         "input": one.spec.input_size, "parameters": one.parameters, "weights": one.spec.weights,
         "licence": one.card.licence if one.card else None, "fingerprint": one.fingerprint,
         "spec": one.spec.to_dict(), "card": one.card.to_dict() if one.card else None,
         "measured": [asdict(m) for m in found if m.fingerprint == one.fingerprint]}
        for one in own
    ]  # fmt: skip
    return listed


def _kept() -> list[Measurement]:
    """What was measured before; no cache is made for the question alone."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.evaluate.measured import measurements

    if not os.path.exists(default_cache()):
        return []
    with FeatureCache(default_cache()) as cache:
        return measurements(cache)


# -- measuring ---------------------------------------------------------------------------------


def _measure(what: tuple[str, ...], own: Sequence[OwnEmbedder], options: dict[str, Any]) -> None:
    """Measure the embedders one after the other; one that cannot be used is said and left out."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.benchmark.common import load_embedder
    from cbir.cli.output import Bar, note
    from cbir.errors import CbirError, EmbedderError
    from cbir.evaluate.measured import measure_embedder, yardstick

    names, truth = _chosen(what, own, options)
    failed: list[tuple[str, CbirError]] = []
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        bar.stage("pictures", len(truth.paths))
        stick = yardstick(truth, bar.advance)
        for name in names:
            bar.stage(os.path.basename(name), len(truth.paths))
            try:
                measure_embedder(stick, load_embedder(name), cache, bar.advance)
            except EmbedderError as error:
                failed.append((name, error))
    for name, why in failed:
        note(f"Not measured: {name}: {why}")
    if len(failed) == len(names):
        raise failed[0][1]


def _chosen(
    what: tuple[str, ...], own: Sequence[OwnEmbedder], options: dict[str, Any]
) -> tuple[list[str], Any]:
    """The embedders that are named (none: all that are here), and the protocol."""
    from cbir import evaluate
    from cbir.backbones import model_table, names
    from cbir.embed.shelf import is_embedder
    from cbir.errors import UsageError

    shelf = {one.name: one.folder for one in own}
    chosen, folders = [], []
    for name in what:
        if name in names() or name in shelf:
            chosen.append(shelf.get(name, name))
        elif is_embedder(name):
            chosen.append(name)
        elif os.path.isdir(name):
            folders.append(name)
        else:
            raise UsageError(
                f"models --measure: expected backbones, own embedders and one FOLDER with "
                f"pictures; there is none of these at {name}."
            )
    if len(folders) + bool(options["manifest"]) != 1:
        raise UsageError(
            "models --measure: expected one of FOLDER and --manifest CSV; received "
            f"{len(folders) + bool(options['manifest'])}."
        )
    if not chosen:
        chosen = [str(m["name"]) for m in model_table() if m["weights"] == "here"]
        chosen += shelf.values()
    if options["manifest"]:
        return chosen, evaluate.from_manifest(
            options["manifest"], options["query_where"], options["gallery_where"]
        )
    return chosen, evaluate.from_folders(folders[0])
