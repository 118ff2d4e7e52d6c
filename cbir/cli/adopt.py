"""`cbir adopt`: move an index to another embedder, where that is better, and back."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.options import (
    backbone_options,
    index_option,
    json_option,
    precision_option,
    runtime_options,
)

if TYPE_CHECKING:
    from cbir.lifecycle import AdoptReport
    from cbir.lifecycle.adopt import AdoptOptions
    from cbir.lifecycle.verdict import Verdict


@click.command("adopt", short_help="Move an index to another embedder, if better; or back.")
@click.argument("embedder", required=False, metavar="[EMBEDDER]")
@index_option
@backbone_options
@precision_option
@runtime_options
@click.option("--labels", "--label", "labels", metavar="COLUMN",
              help="Metadata column with the labels. Default: label; else folders, where they "
              "look like classes; else self-queries.")  # fmt: skip
@click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
              help="CSV with the columns path and label: its pictures are the queries.",
              )  # fmt: skip
@click.option("--query-where", multiple=True, metavar="TERM",
              help="Which images (or rows of the manifest) are queries. Default: all, but where 50 "
              "others can ask, not those that an embedder learned from.",
              )  # fmt: skip
@click.option("--gallery-where", multiple=True, metavar="TERM",
              help="Which images may be found. Default: all.")  # fmt: skip
@click.option("--self-queries", is_flag=True,
              help="Compare without labels: edited pictures ask for their sources.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=1), metavar="N",
              help="Queries at most, or pictures to edit. Default: 1000, and 100.")  # fmt: skip
@click.option("--force", is_flag=True,
              help="Swap although it is not better, or some pictures cannot be read now.",
              )  # fmt: skip
@click.option("--calibrate/--no-calibrate", default=True, show_default=True,
              help="Fit how the new scores become matches.")  # fmt: skip
@click.option("--max-megapixels", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Pictures that would take more in memory cannot be read. Default: 100.",
              )  # fmt: skip
@click.option("--roll-back", is_flag=True,
              help="Make the former embedder live again; once more: the adopted one.",
              )  # fmt: skip
@click.option("--forget", is_flag=True,
              help="Remove the former embedder with its features: there is no way back then.",
              )  # fmt: skip
@json_option
def adopt_command(embedder: str | None, index: str, **options: Any) -> None:
    """Move the index to EMBEDDER (a folder or a name of `cbir models`), if it finds more.

    All pictures are embedded again, beside what is live; queries go on, by the former embedder
    until the swap. Both are asked the same queries: images of the index by their labels, the
    pictures of a --manifest, or, without labels, edited pictures for their sources. It is swapped
    in only where MAP@R (self-queries: recall@1) is surely higher: the paired 95 % interval of the
    difference lies above 0, recall@1 is not surely lower, on 20 queries or more. Else the index
    stays as it is, and the exit code is 6; what was embedded is kept, so that --force is quick.

    A trained embedder finds the pictures that it was trained on more easily than others: name
    queries that it has not seen. The former embedder stays, to go back to with --roll-back. A run
    that was interrupted goes on where it stopped.
    """
    from cbir.cli.output import EXIT_REFUSED, Bar, quit_with, result

    _check(embedder, options)
    if options["forget"]:
        _forget(index, options["as_json"])
        return
    with Bar() as bar:
        report = _run(embedder, index, options, bar)
    _list_lost(report)
    result(_as_json(index, report) if options["as_json"] else _text(index, report))
    if not report.swapped and not report.already:
        quit_with(EXIT_REFUSED)


def _check(embedder: str | None, options: dict[str, Any]) -> None:
    """One thing at a time, and options only where they mean something."""
    from cbir.errors import UsageError

    asked = [name for name in ("roll_back", "forget") if options[name]]
    if (embedder is not None) + len(asked) != 1:
        raise UsageError(
            "adopt: expected one of EMBEDDER, --roll-back and --forget; received "
            f"{'several' if asked else 'none'}."
        )
    contest = ("labels", "manifest", "query_where", "gallery_where", "self_queries", "sample")
    useless = [*contest, "weights", "cut", "input_size", "resize", "precision"] if asked else []
    useless += ["force", "max_megapixels"] if options["forget"] else []
    for name in useless:
        if options[name]:
            raise UsageError(
                f"--{name.replace('_', '-')}: expected with EMBEDDER; received with "
                f"--{asked[0].replace('_', '-')}."
            )


def _run(embedder: str | None, index: str, options: dict[str, Any], bar: Any) -> AdoptReport:
    from cbir.lifecycle import EmbedderRequest, adopt, roll_back

    used = _options(options)
    if embedder is None:
        return roll_back(index, used, progress=bar)
    request = EmbedderRequest(
        embedder, options["cut"], options["input_size"], options["resize"], options["weights"],
        options["precision"],
    )  # fmt: skip
    return adopt(index, request, used, progress=bar)


def _options(options: dict[str, Any]) -> AdoptOptions:
    from cbir.lifecycle.adopt import AdoptOptions
    from cbir.lifecycle.candidates import Reading
    from cbir.lifecycle.verdict import Contest

    contest = Contest(
        options["labels"], options["self_queries"], options["manifest"], options["query_where"],
        options["gallery_where"], options["sample"],
    )  # fmt: skip
    megapixels = options["max_megapixels"]
    reading = Reading(max_pixels=int(megapixels * 1e6)) if megapixels else Reading()
    return AdoptOptions(contest, options["force"], options["calibrate"], reading)


def _forget(index: str, as_json: bool) -> None:
    from cbir.cli.output import result
    from cbir.lifecycle import forget
    from cbir.present import count

    gone = forget(index)
    if as_json:
        result(json.dumps({"index": index, "forgotten": gone}, indent=2) + "\n")
    elif gone:
        result(f"{count(len(gone), 'embedder')} forgotten: {', '.join(gone)}\n")
    else:
        result("Nothing to forget: only the live embedder is there.\n")


def _list_lost(report: AdoptReport) -> None:
    """Which pictures could not be read, and what to do."""
    from cbir.cli.output import failures, note

    failures(report.lost.values())
    if 0 < len(report.lost) < report.images and not report.swapped:
        note(
            "Bring the index up to date first (`cbir index`), or mount the folder. --force swaps "
            "all the same: these images are then not found, until `cbir index` can read them."
        )


def _text(index: str, report: AdoptReport) -> str:
    from cbir.present import human_duration

    lines = []
    if report.verdict is not None:
        lines += [_compared(report.verdict), *_learned(report.verdict), ""]
    if report.already:
        lines.append(f"Nothing to do: {report.why}.")
        return "\n".join(lines) + "\n"
    rate = f"Embedded {report.embedded:,} in {human_duration(report.seconds)} in all."
    if not report.swapped:
        lines.append(f"Not adopted: {report.why}. {_advice(report)}")
    elif report.forced:
        lines.append(f"Adopted by --force, although {report.why or 'images are left out'}.")
    elif report.verdict is None:
        lines.append(f"Back to generation {report.generation}.")
    else:
        lines.append(f"Adopted: {report.verdict.why}.")
    lines.append(rate)
    if report.swapped:
        back = f"cbir adopt --roll-back -i {shlex.quote(index)}"
        lines.append(f"Live in {index}: {report.embedder}. To go back: {back}")
    return "\n".join(lines) + "\n"


def _advice(report: AdoptReport) -> str:
    """What a user may do about a refusal."""
    verdict = report.verdict
    if report.images and len(report.lost) == report.images:
        return "The index is as it was. Mount the folder of its pictures."
    if verdict is not None and not verdict.labels:
        return (
            "Self-queries tell how well copies are found, not whether pictures of a kind are; "
            "with labels (--labels, --manifest) the comparison says more. --force swaps all the "
            "same."
        )
    return "The index is as it was. --force swaps all the same."


def _compared(verdict: Verdict) -> str:
    """The table of both, with intervals."""
    from cbir.present import columns, count
    from cbir.present.numbers import between, number, signed

    rows = [
        (f.metric, number(f.old), number(f.new), signed(f.difference), between((f.low, f.high)))
        for f in verdict.figures
    ]
    asked = count(verdict.queries, "query", "queries")
    if not verdict.labels:
        asked = f"{asked} made of {count(verdict.units, 'picture')}"
    labels = f"; labels: {verdict.labels}" if verdict.labels else ""
    return (
        f"{verdict.protocol}: {asked}; {count(verdict.gallery, 'image')} in the gallery{labels}\n\n"
        + columns(("metric", "live", "new", "difference", "95 % interval"), rows).rstrip("\n")
    )


def _learned(verdict: Verdict) -> list[str]:
    """What the comparison owes to pictures that the new embedder learned from."""
    from cbir.present import count

    lines = []
    if verdict.spared:
        lines.append(
            f"Not asked: {count(verdict.spared, 'picture')} that one of the embedders learned from."
        )
    for who, number in (("live", verdict.learned_old), ("new", verdict.learned)):
        if number:
            what = "queries" if verdict.labels else "pictures whose edited copies asked"
            lines.append(
                f"Of the {what}, {number:,} are some that the {who} embedder learned from, which "
                "flatters it. Others tell more (--query-where, --manifest)."
            )
    return lines


def _as_json(index: str, report: AdoptReport) -> str:
    from cbir.lifecycle.verdict import as_dict

    whole = {
        "index": index, "embedder": report.embedder, "former": report.former,
        "swapped": report.swapped, "already": report.already, "forced": report.forced,
        "why": report.why or None, "images": report.images, "embedded": report.embedded,
        "lost": [{"id": image, "path": f.path, "reason": f.reason}
                 for image, f in report.lost.items()],
        "comparison": None if report.verdict is None else as_dict(report.verdict),
        "generation": report.generation, "fitted_on": report.fitted,
        "calibrated": report.calibrated, "seconds": round(report.seconds, 3),
    }  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"
