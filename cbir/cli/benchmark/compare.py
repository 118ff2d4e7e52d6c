"""`cbir benchmark compare`: many systems on one protocol, as a table, JSON and a page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import read_truth, truth_options
from cbir.cli.benchmark.compare_output import as_json, as_text, write_comparison
from cbir.cli.options import json_option, runtime_options, strict_option

if TYPE_CHECKING:
    from cbir.evaluate import Axes, Compare, Truth


def _several(read: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """A callback for an option that is given several times, or with commas, or both."""

    def made(context: click.Context, option: click.Parameter, given: Iterable[str]) -> Any:
        parts = [part.strip() for one in given for part in one.split(",")]
        try:
            return tuple(dict.fromkeys(read(part) for part in parts))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return made


def _files(context: click.Context, option: click.Parameter, given: Iterable[str]) -> Any:
    """NAME=FILE, several times → files by name."""
    parts = [one.partition("=") for one in given]
    if not all(name and file for name, _, file in parts):
        raise click.BadParameter("expected NAME=FILE, the name of a backbone and a file.")
    return {name: file for name, _, file in parts}


def _kind(of: str) -> Callable[[str], str]:
    """A reader of the values that a setting may have; they are looked up when one is given."""

    def read(text: str) -> str:
        kinds = values_of(of)
        if text not in kinds:
            raise ValueError(f"expected one of {', '.join(kinds)}; received {text!r}.")
        return text

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"expected whole numbers from {low} to {high}; received {text!r}.")
        return int(text)

    return read


def values_of(axis: str) -> tuple[str, ...]:
    """What an axis may be set to, from where it is defined."""
    from typing import get_args

    from cbir import config
    from cbir.embed.pooling import POOLINGS

    known = {
        "resize": get_args(config.ResizePolicy),
        "projection": get_args(config.ProjectionKind),
        "index-kind": get_args(config.ComparedKind),
        "pooling": tuple(POOLINGS),
    }
    return known[axis]


@click.command("compare", short_help="Many systems in one table: quality, speed, size.")
@truth_options
@click.option(
    "--embedder",
    "embedders",
    multiple=True,
    metavar="NAME|DIR",
    help="Backbone (`cbir models`), classical/NAME or folder of a saved embedder. "
    "Default: every backbone whose weights are installed.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="NAME=FILE",
    callback=_files,
    help="Weights of the backbone NAME, where Keras cannot fetch them.",
)
@click.option(
    "--resize",
    "resizes",
    multiple=True,
    metavar="POLICY",
    callback=_several(_kind("resize")),
    help="How a picture becomes square: squash, crop, pad. Default: squash.",
)
@click.option(
    "--input-size",
    "input_sizes",
    multiple=True,
    metavar="PIXELS",
    callback=_several(_whole(8, 4096)),
    help="Side of the square input. Default: the backbone's own.",
)
@click.option(
    "--pooling",
    "poolings",
    multiple=True,
    metavar="NAME",
    callback=_several(_kind("pooling")),
    help="Feature map to feature: gap. Default: gap.",
)
@click.option(
    "--dims",
    multiple=True,
    metavar="N",
    callback=_several(_whole(1, 65536)),
    help="Length of an embedding, at most. Default: 256.",
)
@click.option(
    "--projection",
    "projections",
    multiple=True,
    metavar="KIND",
    callback=_several(_kind("projection")),
    help="Feature to embedding: pca, none. Default: pca.",
)
@click.option(
    "--index-kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    callback=_several(_kind("index-kind")),
    help="What is searched: flat. Default: flat.",
)
@click.option(
    "--by",
    default="mAP",
    show_default=True,
    metavar="METRIC",
    help="Quality: orders the table, and is compared with the baseline.",
)
@click.option(
    "--baseline",
    metavar="SYSTEM",
    help="Name of the system that all are compared with, as the table has it. Default: "
    "the default system, where it is in the grid, else the first.",
)
@click.option(
    "--laps",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="How often each embedder is timed, in turns with the others.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="Keep what is finished there, raw answers included. Default: beside the cache of "
    "features.",
)
@click.option("--dry-run", is_flag=True, help="List the systems, and measure nothing.")
@click.option("--html", metavar="FILE", help="Write a page with plots.")
@runtime_options
@strict_option
@json_option
def compare_command(folder: str | None, **options: Any) -> None:
    """Compare embedders, input policies, lengths and projections on one protocol.

    Every combination of the options is a system, and a row of the table: quality with its 95 %
    interval, the difference to the baseline with its paired interval, images/s of embedding,
    ms/query of one search, bytes/image of the index file, and whether it is on the Pareto front:
    no other system is better in one of quality, images/s and bytes/image, and as good in the
    others. Options of an axis may be repeated, or hold several values with commas. A colour
    histogram is measured beside, as the floor. What is finished is kept: an interrupted run goes
    on, and a second one measures nothing and prints the same.
    """
    from cbir.cli.output import EXIT_FAILED, EXIT_SKIPPED, failures, note, quit_with, result

    _check_page(options["html"])
    truth = read_truth("benchmark compare", folder, options)
    compare = _measured(truth, options)
    if compare is None:
        return
    found = compare.result(options["by"], options["baseline"])
    if options["html"]:
        write_comparison(options["html"], found, compare)
    result(as_json(found) if options["as_json"] else as_text(found))
    for problem in found.problems:
        note(f"Not measured: {problem.name}: {problem.reason}")
    failures(found.failures)
    asked = {c.name for c in compare.asked}
    if not any(row.candidate.name in asked for row in found.rows):
        quit_with(EXIT_FAILED)
    if options["strict"] and (found.failures or found.problems):
        quit_with(EXIT_SKIPPED)


def _check_page(path: str | None) -> None:
    """A page that could not be written is said before hours of work, not after."""
    from cbir.errors import UsageError
    from cbir.present import visible

    if path and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UsageError(
            f"--html: expected a file in an existing folder; received {visible(path)}."
        )


def axes_of(options: dict[str, Any]) -> Axes:
    """The axes that the options name; what is not given has the default's value."""
    from cbir.evaluate import Axes

    names = (
        "embedders",
        "resizes",
        "input_sizes",
        "poolings",
        "dims",
        "projections",
        "kinds",
        "weights",
    )
    return Axes(**{name: options[name] for name in names if options[name]})


def _measured(truth: Truth, options: dict[str, Any]) -> Compare | None:
    """Everything measured; None after a list of what would be."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar, note, result
    from cbir.evaluate import Compare, Watch
    from cbir.present import count, visible

    folder = options["output"] or os.path.splitext(default_cache())[0] + ".compare"
    with Bar() as bar:
        watch = Watch(bar.stage, bar.advance)
        compare = Compare(truth, axes_of(options), folder, watch, options["laps"])
        compare.check(options["by"], options["baseline"])  # before hours, not after
        bar.close()
        states = [(cell.name, "kept" if compare.done(cell) else "to measure")
                  for cell in compare.cells]  # fmt: skip
        kept = sum(state == "kept" for _, state in states)
        sizes = (
            f"{count(len(compare.cells), 'system')} of {count(len(compare.candidates), 'embedder')}"
            f", {kept} of them finished before; kept in {visible(compare.kept.folder)}"
        )
        if options["dry_run"]:
            result(_plan(sizes, states, options["as_json"]))
            return None
        note(sizes)
        with FeatureCache(default_cache()) as cache:
            compare.run(cache)
    return compare


def _plan(sizes: str, states: list[tuple[str, str]], as_json: bool) -> str:
    from cbir.present import columns

    if as_json:
        rows = [{"system": name, "state": state} for name, state in states]
        return json.dumps({"systems": rows}, indent=2) + "\n"
    return sizes + "\n\n" + columns(("system", "state"), states)
