"""`cbir benchmark recall`: recall@k, mAP, MAP@R of one system, beside the floor."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import (
    check_html,
    load_embedder,
    machine,
    pair,
    plain,
    read_truth,
    truth_options,
)
from cbir.cli.benchmark.on_index import asks_index, measured_on_index
from cbir.cli.benchmark.self_queries import keeps_self_queries, self_queries_report
from cbir.cli.options import (
    embedder_options,
    index_option,
    json_option,
    runtime_options,
    strict_option,
)
from cbir.present.numbers import between, number

if TYPE_CHECKING:
    from cbir.evaluate import Answers, Measured, Summary, Truth
    from cbir.types import Failure

SHOWN = ("recall@1", "recall@5", "recall@10", "mAP", "MAP@R", "P@10")


@click.command("recall", short_help="recall@k, mAP, MAP@R with intervals.")
@truth_options
@click.option("--self-queries", is_flag=True,
              help="No labels: ask an index, FOLDER or a --manifest for the sources of edited "
              "pictures.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=1), default=200, show_default=True, metavar="N",
              help="With --self-queries: how many sources.")  # fmt: skip
@click.option("--label", metavar="COLUMN",
              help="Column with the labels: of a --manifest, of an index's metadata. Default: "
              "label; for an index without it, the parent folder.")  # fmt: skip
@index_option
@embedder_options
@runtime_options
@click.option("--dims", type=click.IntRange(min=1), metavar="N", default=256, show_default=True,
              help="Length of an embedding, at most.")  # fmt: skip
@click.option("--projection", type=click.Choice(["pca", "none"]), default="pca", show_default=True,
              help="How features become embeddings, as of cbir index.")  # fmt: skip
@click.option("--no-floor", is_flag=True,
              help="Do not measure the colour histogram beside: it has to read all pictures.",
              )  # fmt: skip
@click.option("-o", "--output", metavar="DIR",
              help="Keep the raw answers there, for --rescore.")  # fmt: skip
@click.option("--rescore", metavar="DIR", type=click.Path(exists=True, file_okay=False),
              help="Compute the metrics of kept answers again; nothing is embedded. With --html, "
              "FOLDER is where the pictures are now, where they were moved.")  # fmt: skip
@click.option("--html", metavar="FILE",
              help="Also write a report with plots and pictures.")  # fmt: skip
@strict_option
@json_option
def recall_command(folder: str | None, **options: Any) -> None:
    """Measure how well images are found: recall@k, mAP, MAP@R, P@k.

    What is relevant comes from FOLDER (a folder for each class), from a --manifest with labels,
    or from --landmarks. Without them the index is asked by its own images, each left out of its
    answer: labels are its metadata column, or else the parent folder; stored features are used,
    so nothing is embedded. With --manifest and -i on the command line, the pictures of the
    manifest ask the index. --self-queries needs no labels.

    A colour histogram is measured beside, as the floor. Values are means over the queries that
    have a relevant image, with 95 % bootstrap intervals. Features are kept in $CBIR_CACHE (else
    ~/.cache/cbir/features.sqlite), so that nothing is embedded twice.
    """
    from cbir.cli.benchmark.recall_html import write_html
    from cbir.cli.output import EXIT_SKIPPED, failures, quit_with, result

    check_html(options["html"])
    if options["self_queries"] or keeps_self_queries(options["rescore"]):
        self_queries_report(folder, options)
        return
    skipped: list[Failure] = []
    if options["rescore"]:
        system, floor = (_moved(found, folder) for found in _stored(options["rescore"]))
    else:
        done, below = _measured(folder, options)
        system, floor = _signed(done.answers), _signed(below.answers)
        skipped = list(dict.fromkeys((*done.failures, *below.failures)))
        if options["output"]:
            _keep(options["output"], system, floor)
    result(_as_json(system, floor) if options["as_json"] else _text(system, floor))
    if options["html"]:
        write_html(options["html"], system, floor)
    failures(skipped)
    if skipped and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _measured(folder: str | None, options: dict[str, Any]) -> tuple[Measured, Measured]:
    """The system that is asked for, and the floor."""
    if asks_index(folder, options):
        found, done = measured_on_index(options)
        return done, _floor(found.truth, options["no_floor"])
    truth = read_truth("benchmark recall", folder, options)
    return _measured_files(truth, options), _floor(truth, options["no_floor"])


def _measured_files(truth: Truth, options: dict[str, Any]) -> Measured:
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar
    from cbir.config import IndexSpec
    from cbir.evaluate import measure

    spec = IndexSpec(dims=options["dims"], projection=options["projection"])
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        embedder = load_embedder(options["embedder"], options)
        bar.stage(embedder.spec.backbone, len(truth.paths))
        return measure(truth, embedder, spec, cache, bar.advance)


def _floor(truth: Truth, absent: bool) -> Measured:
    """The colour histogram on the pictures' files; without answers where there is none."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar
    from cbir.config import IndexSpec
    from cbir.evaluate import Answers, ColourHistogram, Measured, measure

    why = "--no-floor was given"
    failed: tuple[Failure, ...] = ()
    if not absent:
        with FeatureCache(default_cache()) as cache, Bar() as bar:
            bar.stage("colour histogram", len(truth.paths))
            floor = ColourHistogram()
            found = measure(truth, floor, IndexSpec(projection="none"), cache, bar.advance)
        if found.answers.answers and found.answers.gallery:
            return found
        why, failed = "none of its pictures can be read", found.failures
    return Measured(Answers(truth.name, "classical/colour, raw", 0, (), {"absent": why}), failed)


def _signed(answers: Answers) -> Answers:
    """The answers with when and on what they were measured."""
    from dataclasses import replace

    date = datetime.now().strftime("%Y-%m-%d %H:%M")
    return replace(answers, about={**answers.about, "date": date, "machine": machine()})


def _keep(folder: str, system: Answers, floor: Answers) -> None:
    from cbir.present import write_whole

    os.makedirs(folder, exist_ok=True)
    for name, answers in (("answers.json", system), ("floor.json", floor)):
        write_whole(os.path.join(folder, name), answers.to_json().encode())


def _moved(answers: Answers, folder: str | None) -> Answers:
    """The answers with their pictures looked for in another folder."""
    from dataclasses import replace

    if folder is None or answers.pictures is None:
        return answers
    return replace(answers, pictures=answers.pictures.moved_to(folder))


def _stored(folder: str) -> tuple[Answers, Answers]:
    from cbir.errors import UsageError
    from cbir.evaluate import Answers

    found = []
    for name in ("answers.json", "floor.json"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found.append(Answers.from_json(file.read()))
        except OSError as error:
            raise UsageError(
                f"--rescore: expected answers.json and floor.json in {folder}, as --output keeps "
                f"them; {name}: {error.strerror}."
            ) from None
    return found[0], found[1]


def _text(system: Answers, floor: Answers) -> str:
    from cbir.evaluate import summarise
    from cbir.present import columns, count

    summary = summarise(system)
    rows = [_row(answers.system, summarise(answers)) for answers in (system, floor)]
    left = (
        f", and {count(summary.without_relevant, 'query', 'queries')} with nothing to find"
        if summary.without_relevant
        else ""
    )
    labels = f"; labels: {system.about['labels']}" if "labels" in system.about else ""
    return (
        f"{system.protocol}: {count(summary.queries, 'query', 'queries')}{left}; "
        f"{count(summary.gallery, 'image')} in the gallery{labels}\n\n"
        + columns(("system", *_shown(summary)), rows)
        + "\n95 % intervals of the first line: "
        + ", ".join(f"{n} {between(summary.intervals[n])}" for n in ("recall@1", "mAP", "MAP@R"))
        + ". mAP by the rectangle rule.\n"
        + _about_floor(system, floor)
    )


def _about_floor(system: Answers, floor: Answers) -> str:
    """A line where the floor is not there, or not on the same pictures."""
    from cbir.present import count

    if "absent" in floor.about:
        return f"No floor: {floor.about['absent']}.\n"
    gone = floor.about.get("failures", 0) - system.about.get("failures", 0)
    if gone > 0 and "index" in system.about:
        return f"The floor leaves out {count(gone, 'picture')} that cannot be read any more.\n"
    return ""


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    return (name, *(number(summary.metrics[metric]) for metric in _shown(summary)))


def _shown(summary: Summary) -> tuple[str, ...]:
    """The columns of the table."""
    return (*SHOWN, "N-S") if "N-S" in summary.metrics else SHOWN


def _as_json(system: Answers, floor: Answers) -> str:
    from cbir.evaluate import summarise

    summary, below = summarise(system), summarise(floor)
    whole = {
        "protocol": system.protocol,
        "embedder": system.about.get("embedder"),
        "system": system.system,
        "queries": summary.queries,
        "without_relevant": summary.without_relevant,
        "gallery": summary.gallery,
        "metrics": plain(summary.metrics),
        "intervals": {name: pair(found) for name, found in summary.intervals.items()},
        "floor": {"system": floor.system, "metrics": plain(below.metrics),
                  **{name: floor.about[name] for name in ("absent",) if name in floor.about}},
        "about": dict(system.about),
    }  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"
