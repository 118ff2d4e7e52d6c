"""`cbir benchmark compare`: many systems on one protocol, as a table, JSON and a page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import (
    between,
    machine,
    number,
    pair,
    plain,
    read_truth,
    truth_options,
)
from cbir.cli.options import json_option, strict_option

if TYPE_CHECKING:
    from cbir.evaluate import Axes, Compare, Comparison, CompareRow


def _several(read: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """A callback for an option that is given several times, or with commas, or both."""

    def made(context: click.Context, option: click.Parameter, given: Iterable[str]) -> Any:
        parts = [part.strip() for one in given for part in one.split(",")]
        try:
            return tuple(dict.fromkeys(read(part) for part in parts))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return made


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
        "index-kind": get_args(config.IndexKind),
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
    on, and a second one prints the same at once.
    """
    from cbir.cli.output import EXIT_FAILED, EXIT_SKIPPED, failures, note, quit_with, result

    truth = read_truth("benchmark compare", folder, options)
    compare = _measured(truth, options)
    if compare is None:
        return
    found = compare.result(options["by"], options["baseline"])
    if options["html"]:
        _write_page(options["html"], found)
    result(as_json(found) if options["as_json"] else as_text(found))
    for problem in found.problems:
        note(f"Not measured: {problem.name}: {problem.reason}")
    failures(found.failures)
    asked = {c.name for c in compare.asked}
    if not any(row.candidate.name in asked for row in found.rows):
        quit_with(EXIT_FAILED)
    if options["strict"] and (found.failures or found.problems):
        quit_with(EXIT_SKIPPED)


def axes_of(options: dict[str, Any]) -> Axes:
    """The axes that the options name; what is not given has the default's value."""
    from cbir.evaluate import Axes

    names = ("embedders", "resizes", "input_sizes", "poolings", "dims", "projections", "kinds")
    return Axes(**{name: options[name] for name in names if options[name]})


def _measured(truth: Any, options: dict[str, Any]) -> Compare | None:
    """Everything measured; None after a list of what would be."""
    from cbir.catalog import FeatureCache, default_cache
    from cbir.cli.output import Bar, note, result
    from cbir.evaluate import Compare, Watch
    from cbir.present import count, visible

    folder = options["output"] or os.path.splitext(default_cache())[0] + ".compare"
    with Bar() as bar:
        watch = Watch(bar.stage, bar.advance)
        compare = Compare(truth, axes_of(options), folder, watch, options["laps"])
        compare.result(options["by"], options["baseline"])  # a wrong name is said before hours
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


def as_text(found: Comparison) -> str:
    """The table, best first, and what its columns mean."""
    from cbir.present import columns, count

    if not found.rows:
        return f"{found.protocol}: no system could be measured.\n"
    first = found.rows[0].summary
    rest = [f"{metric} and 95 % interval" if metric == found.by else metric
            for metric in shown(found.by)]  # fmt: skip
    header = ("system", *rest, "to the baseline", "images/s", "ms/query", "bytes/image", "front")
    left = (
        f", and {count(first.without_relevant, 'query', 'queries')} with nothing to find"
        if first.without_relevant
        else ""
    )
    return (
        f"{found.protocol}: {count(first.queries, 'query', 'queries')}{left}; "
        f"{count(first.gallery, 'image')} in the gallery\n\n"
        + columns(header, _aligned([_cells(row, found.by) for row in found.rows]))
        + "".join(f"\n{line}" for line in legend(found))
        + "\n"
    )


def shown(by: str) -> tuple[str, ...]:
    """Which metrics the table has: the one that orders it, and recall@1 and mAP."""
    return tuple(dict.fromkeys(("recall@1", by) if by != "recall@1" else ("recall@1", "mAP")))


def _cells(row: CompareRow, by: str) -> tuple[str, ...]:
    quality = [
        f"{number(row.summary.metrics[m])} ({between(row.summary.intervals[m])})"
        if m == by
        else number(row.summary.metrics[m])
        for m in shown(by)
    ]
    return (
        row.system, *quality, difference(row), rate(row.images_per_second),
        "-" if row.search_ms != row.search_ms else f"{row.search_ms:.2f}",
        f"{row.bytes_per_image:,}", "*" if row.front else "",
    )  # fmt: skip


def _aligned(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Numbers that are texts, set to the right: the columns before the last but for two."""
    from cbir.present.names import display_width, pad

    columns = list(map(list, zip(*rows, strict=True)))
    for i in range(len(columns) - 4, len(columns) - 1):
        width = max(map(display_width, columns[i]))
        columns[i] = [pad(cell, width, True) for cell in columns[i]]
    return list(zip(*columns, strict=True))


def difference(row: CompareRow) -> str:
    """ "+.012 (-.003 to .027)"; what the baseline is."""
    if row.difference is None:
        return "(the baseline)"
    mean, *interval = row.difference
    sign = "+" if mean >= 0 else ""
    return f"{sign}{number(mean)} ({between((interval[0], interval[1]))})"


def rate(value: float) -> str:
    """Images/s with two or three figures; "-" where there are none."""
    if value != value:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def legend(found: Comparison) -> list[str]:
    """What the columns mean, one sentence a line."""
    from cbir.present import count

    lines = [
        f"Means over queries, with 95 % bootstrap intervals; differences in {found.by} to "
        f"{found.baseline}, query by query, with paired ones.",
        f"images/s: embedding, decoding included, of {count(found.timed_on, 'picture')}, median of "
        "the laps. ms/query: one search for 10 hits, on one core.",
        "bytes/image: in the index file. *: on the Pareto front of "
        f"{found.by}, images/s (5 % count as equal) and bytes/image.",
        f"Timed on {found.machine['cores']} cores of {found.machine['processor']}.",
    ]
    if not found.fitted:
        lines.append(
            "The gallery has fewer than 500 different pictures: as in `cbir index`, no projection "
            "is fitted, so lengths and projections make no difference."
        )
    return lines


def as_json(found: Comparison) -> str:
    """One object; rows as in the table."""
    first = found.rows[0].summary if found.rows else None
    whole = {
        "protocol": found.protocol,
        "by": found.by,
        "baseline": found.baseline,
        "queries": first.queries if first else 0,
        "without_relevant": first.without_relevant if first else 0,
        "gallery": first.gallery if first else 0,
        "front": {"over": [found.by, "images_per_second", "bytes_per_image"],
                  "systems": [row.system for row in found.rows if row.front]},
        "systems": [_object(row) for row in found.rows],
        "not_measured": [{"embedder": p.name, "reason": p.reason} for p in found.problems],
        "skipped": [{"path": f.path, "reason": f.reason} for f in found.failures],
        "machine": {**machine(), **found.machine},
        "timed_on": found.timed_on,
    }  # fmt: skip
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def _object(row: CompareRow) -> dict[str, Any]:
    timed = {"images_per_second": row.images_per_second, "query_embedding_ms": row.alone_ms,
             "ms_per_query": row.search_ms}  # fmt: skip
    made = None
    if row.difference is not None:
        mean, low, high = row.difference
        made = {"mean": plain({"": mean})[""], "interval": pair((low, high))}
    return {
        "system": row.system,
        "embedder": row.about["embedder"],
        "fingerprint": row.about["fingerprint"],
        "index_spec": row.spec.to_dict(),
        "dims": row.about["dims"],
        "metrics": plain(row.summary.metrics),
        "intervals": {name: pair(one) for name, one in row.summary.intervals.items()},
        "difference": made,
        **plain(timed),
        "bytes_per_image": row.bytes_per_image,
        "feature_bytes": row.feature_bytes,
        "embedding_s": row.about["embedding_s"],
        "ranking_s": row.about["ranking_s"],
        "front": row.front,
    }


def _write_page(path: str, found: Comparison) -> None:
    raise NotImplementedError
