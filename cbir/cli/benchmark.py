"""`cbir benchmark`: measuring retrieval on one's own images."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.options import embedder_options, index_option, json_option, strict_option

if TYPE_CHECKING:
    from cbir.config import FeatureExtractor
    from cbir.evaluate import Answers, Measured, SelfReport, Summary, Truth

SHOWN = ("recall@1", "recall@5", "recall@10", "mAP", "MAP@R", "P@10")


@click.group("benchmark", short_help="Measure retrieval on your own images.")
def benchmark_command() -> None:
    """Measure retrieval on your own images."""


@benchmark_command.command("recall", short_help="recall@k, mAP, MAP@R with intervals.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
              help="Columns path (relative to the CSV), label, and any others.")  # fmt: skip
@click.option("--query-where", multiple=True, metavar="TERM",
              help="Which images are queries. Default: all of the gallery, each left out of its "
              "own answer.")  # fmt: skip
@click.option("--gallery-where", multiple=True, metavar="TERM",
              help="Which images may be found. Default: all.")  # fmt: skip
@click.option("--landmarks", metavar="JSON", type=click.Path(exists=True, dir_okay=False),
              help="Gallery, and queries with ok/easy/hard/junk images and boxes.")  # fmt: skip
@click.option("--difficulty", type=click.Choice(["easy", "medium", "hard"]), default="medium",
              show_default=True, help="With --landmarks: what counts as relevant.")  # fmt: skip
@click.option("--groups", type=click.IntRange(min=2), metavar="N",
              help="With FOLDER: each N files, by name, show one thing (UKBench: 4).")  # fmt: skip
@click.option("--self-queries", is_flag=True,
              help="No labels: ask the index -i for the sources of edited pictures.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=1), default=200, show_default=True, metavar="N",
              help="With --self-queries: how many sources.")  # fmt: skip
@index_option
@embedder_options
@click.option("--dims", type=click.IntRange(min=1), metavar="N", default=256, show_default=True,
              help="Length of an embedding, at most.")  # fmt: skip
@click.option("--projection", type=click.Choice(["pca", "none"]), default="pca", show_default=True,
              help="How features become embeddings, as of cbir index.")  # fmt: skip
@click.option("-o", "--output", metavar="DIR",
              help="Keep the raw answers there, for --rescore.")  # fmt: skip
@click.option("--rescore", metavar="DIR", type=click.Path(exists=True, file_okay=False),
              help="Compute the metrics of kept answers again; nothing is embedded.")  # fmt: skip
@strict_option
@json_option
def recall_command(folder: str | None, **options: Any) -> None:
    """Measure how well images are found: recall@k, mAP, MAP@R, P@k.

    What is relevant comes from FOLDER (a folder for each class), from a --manifest with labels,
    or from --landmarks; --self-queries needs none. A colour histogram is measured beside, as the
    floor. Values are means over the queries that have a relevant image, with 95 % bootstrap
    intervals. Features are kept in $CBIR_CACHE (else ~/.cache/cbir/features.sqlite), so that
    nothing is embedded twice.
    """
    from cbir.cli.output import EXIT_SKIPPED, failures, quit_with, result

    if options["self_queries"]:
        _self_queries(folder, options)
        return
    if options["rescore"]:
        system, floor = _stored(options["rescore"])
        skipped = []
    else:
        truth = _truth(folder, options)
        done, below = _measured(truth, options)
        system, floor, skipped = done.answers, below.answers, list(done.failures)
        if options["output"]:
            _keep(options["output"], system, floor)
    result(_as_json(system, floor) if options["as_json"] else _text(system, floor))
    failures(skipped)
    if skipped and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _self_queries(folder: str | None, options: dict[str, Any]) -> None:
    """Ask an index for the sources of edited pictures, and say how often it finds them."""
    from cbir.cli.output import EXIT_SKIPPED, Bar, failures, note, quit_with, result
    from cbir.errors import UsageError
    from cbir.evaluate import self_queries
    from cbir.query import Index

    for name in ("manifest", "landmarks", "groups", "embedder", "rescore", "output"):
        if options[name] or folder:
            raise UsageError(
                "--self-queries: expected an index alone (-i INDEX), which has its own images and "
                f"embedder; received {'FOLDER' if folder else '--' + name} too."
            )
    with Index.open(options["index"]) as index, Bar() as bar:
        bar.stage("self-queries", min(options["sample"], len(index)))
        found = self_queries(index, sample=options["sample"], advance=bar.advance)
        for line in index.notes:
            note(f"Note: {line}. `cbir check --repair` mends it.")
    result(_attacks_json(options["index"], found) if options["as_json"] else _attacks(found))
    failures(found.failures)
    if found.failures and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _attacks(found: SelfReport) -> str:
    from cbir.present import columns, count

    rows = [
        (a.name, *(_number(a.recall[k]) for k in a.recall), _range(a.interval),
         _number(a.source_score))
        for a in found.attacks
    ]  # fmt: skip
    header = ("edit", "recall@1", "recall@5", "recall@10", "95 % of recall@1", "score")
    return (
        f"{count(found.images, 'picture')} of the index, each edited in {len(found.attacks)} ways: "
        "how often is the source found?\n\n"
        + columns(header, rows)
        + f"\nrecall@1 over all edits: {_number(found.recall_at_1)}. Score: mean of the source's, "
        "where found.\n"
    )


def _attacks_json(index: str, found: SelfReport) -> str:
    rows = {
        a.name: {
            **{f"recall@{k}": round(value, 6) for k, value in a.recall.items()},
            "interval": _pair(a.interval), "queries": a.queries,
            "source_score": None if a.source_score != a.source_score else round(a.source_score, 6),
        }
        for a in found.attacks
    }  # fmt: skip
    whole = {"index": index, "images": found.images, "recall@1": round(found.recall_at_1, 6),
             "edits": rows}  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"


def _truth(folder: str | None, options: dict[str, Any]) -> Truth:
    from cbir import evaluate
    from cbir.errors import UsageError

    sources = [s for s in (folder, options["manifest"], options["landmarks"]) if s]
    if len(sources) != 1:
        raise UsageError(
            "benchmark recall: expected one of FOLDER, --manifest CSV and --landmarks JSON; "
            f"received {len(sources)}."
        )
    if options["manifest"]:
        return evaluate.from_manifest(
            options["manifest"], options["query_where"], options["gallery_where"]
        )
    if options["query_where"] or options["gallery_where"]:
        raise UsageError("--query-where, --gallery-where: expected together with --manifest.")
    if options["landmarks"]:
        return evaluate.from_landmarks(options["landmarks"], options["difficulty"])
    assert folder is not None
    if options["groups"]:
        return evaluate.from_groups(folder, options["groups"])
    return evaluate.from_folders(folder)


def _measured(truth: Truth, options: dict[str, Any]) -> tuple[Measured, Measured]:
    """The system that is asked for, and the floor."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar
    from cbir.config import IndexSpec
    from cbir.evaluate import ColourHistogram, measure

    spec = IndexSpec(dims=options["dims"], projection=options["projection"])
    with FeatureCache(default_cache()) as cache, Bar() as bar:
        embedder = _embedder(options)
        bar.stage(embedder.spec.backbone, len(truth.paths))
        done = measure(truth, embedder, spec, cache, bar.advance)
        bar.stage("colour histogram", len(truth.paths))
        floor = measure(truth, ColourHistogram(), IndexSpec(projection="none"), cache, bar.advance)
    return done, floor


def _embedder(options: dict[str, Any]) -> FeatureExtractor:
    from cbir.config import DEFAULT_EMBEDDER
    from cbir.evaluate import ColourHistogram
    from cbir.lifecycle import EmbedderRequest

    name = options["embedder"] or DEFAULT_EMBEDDER
    if name == "classical/colour":
        return ColourHistogram()
    return EmbedderRequest(
        name, options["cut"], options["input_size"], options["resize"], options["weights"]
    ).load()


def _keep(folder: str, system: Answers, floor: Answers) -> None:
    from dataclasses import replace

    from cbir import __version__
    from cbir.present import write_whole

    machine = {
        "cbir": __version__, "python": platform.python_version(), "system": platform.system(),
        "processor": platform.machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    os.makedirs(folder, exist_ok=True)
    for name, answers in (("answers.json", system), ("floor.json", floor)):
        kept = replace(answers, about={**answers.about, "machine": machine})
        write_whole(os.path.join(folder, name), kept.to_json().encode())


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
    return (
        f"{system.protocol}: {count(summary.queries, 'query', 'queries')}{left}; "
        f"{count(summary.gallery, 'image')} in the gallery\n\n"
        + columns(("system", *SHOWN), rows)
        + "\n95 % intervals of the first line: "
        + ", ".join(f"{n} {_range(summary.intervals[n])}" for n in ("recall@1", "mAP", "MAP@R"))
        + ". mAP by the rectangle rule.\n"
    )


def _row(name: str, summary: Summary) -> tuple[str, ...]:
    return (name, *(_number(summary.metrics[metric]) for metric in SHOWN))


def _number(value: float) -> str:
    return "-" if value != value else re.sub(r"^0", "", f"{value:.3f}")


def _range(interval: tuple[float, float]) -> str:
    return f"{_number(interval[0])} to {_number(interval[1])}"


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
        "metrics": _plain(summary.metrics),
        "intervals": {name: _pair(pair) for name, pair in summary.intervals.items()},
        "floor": {"system": floor.system, "metrics": _plain(below.metrics)},
        "about": dict(system.about),
    }
    return json.dumps(whole, indent=2) + "\n"


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """Rounded numbers; None where there is none, since JSON has no NaN."""
    return {name: None if v != v else round(v, 6) for name, v in values.items()}


def _pair(pair: tuple[float, float]) -> list[float | None]:
    return [None if v != v else round(v, 6) for v in pair]
