"""`cbir query`: the nearest images of an example."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.options import index_option, runtime_options, strict_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbir.query import Index
    from cbir.types import Failure, ImageInput, Ranking


@click.command("query", short_help="Find the nearest images of an example.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@index_option
@runtime_options
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True,
              help="How many hits.")  # fmt: skip
@click.option("--crop", metavar="X,Y,W,H",
              help="Only this part of the query: pixels, or shares of its size from 0 to 1.",
              )  # fmt: skip
@click.option("--combine", is_flag=True, help="All query images together as one query.")
@click.option("--weight", type=float, multiple=True, metavar="W",
              help="With --combine: weight of a query image; once per image, in their order.",
              )  # fmt: skip
@click.option("--min-score", type=click.FloatRange(-1, 1), metavar="S",
              help="Leave out hits whose score (cosine, -1 to 1) is below.")  # fmt: skip
@click.option("--min-match", type=click.FloatRange(0, 1), metavar="P",
              help="Leave out hits that show the same thing with a probability below; where none "
              "is left, the answer is that nothing in the gallery matches.")  # fmt: skip
@click.option("--where", multiple=True, metavar="TERM",
              help="Only images that fit: column=value[,value...], column!=value, "
              "column>=number (also > < <=), path~GLOB; several are and-ed.")  # fmt: skip
@click.option("--metadata", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="CSV with a column `path` and others, for this query only.")  # fmt: skip
@click.option("--keep-self", is_flag=True,
              help="Keep the query image itself among the hits, where it is indexed.",
              )  # fmt: skip
@click.option(
    "--json",
    "form",
    flag_value="json",
    help="One JSON object; an array for several, and for a folder.",
)
@click.option("--jsonl", "form", flag_value="jsonl", help="One JSON object a line and query.")
@click.option("--csv", "form", flag_value="csv", help="CSV, one row a hit.")
@click.option("--paths", "form", flag_value="paths", help="Only the paths of the hits.")
@click.option("-0", "--null", "form", flag_value="null",
              help="Only the paths, each followed by a NUL (for xargs -0).")  # fmt: skip
@click.option("--html", metavar="FILE", help="Also write a page with the pictures.")
@click.option("--sheet", metavar="FILE", help="Also write a contact sheet (png, jpg, webp, pdf).")
@click.option("--fail-empty", is_flag=True, help="Exit with 1 when nothing was found.")
@strict_option
def query_command(images: tuple[str, ...], index: str, **options: Any) -> None:
    """Find the images of the index that look most like IMAGE.

    IMAGE is a picture file, "-" for a picture on standard input, the id of an indexed image (id:12,
    or 12 where no file is called so), or a folder (./12), for all pictures below it. Several images
    give one ranking each (with --jsonl or --paths as soon as it is there); --combine makes one
    query of them. Score is the cosine; match, where the index is calibrated, the
    probability that both show the same thing. An indexed image is not its own answer, but copies
    of it are, and are marked `identical`.
    """
    from cbir.cli.output import EXIT_EMPTY, EXIT_FAILED, EXIT_SKIPPED, failures, note, quit_with
    from cbir.errors import UsageError
    from cbir.query import Index

    _check_choices(images, options)
    _check_outputs(options)
    with Index.open(index) as opened:
        if options["min_match"] is not None and opened.calibration() is None:
            raise UsageError(
                f"--min-match: expected an index that is calibrated, for which it takes 40 "
                f"different pictures whose files are there; {index} is not. Run `cbir index`, or "
                "use --min-score."
            )
        asked, unseen = _read_all(images)
        given, names = zip(*asked, strict=True)
        rankings, failed = _ask(opened, given, names, options)
        failed = [*unseen, *failed]
        for line in opened.notes:
            note(f"Note: {line}. `cbir check --repair` mends it.")
        for line in opened.embedder_notes:
            note(f"Note: {line}")
    if not _streams(options):
        several = any(_is_folder(image) for image in images) and not options["combine"]
        _show(rankings, options["form"], several)
    if rankings and options["html"]:
        _write_html(rankings, options["html"])
    if rankings and options["sheet"]:
        _write_sheet(rankings, options["sheet"])
    failures(failed, None)
    if not rankings:
        quit_with(EXIT_FAILED)
    if options["fail_empty"] and not any(ranking.hits for ranking in rankings):
        quit_with(EXIT_EMPTY)
    if failed and len(given) + len(unseen) > 1:
        quit_with(EXIT_SKIPPED if options["strict"] else 0)


def _check_choices(images: Sequence[str], options: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    from cbir.errors import UsageError

    if options["weight"] and not options["combine"]:
        raise UsageError("--weight: expected together with --combine; received without it.")
    if options["min_match"] is not None and options["combine"]:
        raise UsageError(
            "--min-match: expected without --combine, since a match says whether two pictures show "
            "the same thing. Use --min-score."
        )
    if images.count("-") > 1:
        raise UsageError("-: expected once, since standard input can be read once only.")


def _check_outputs(options: dict[str, Any]) -> None:
    """Say what is wrong with an output file before the search, not after it."""
    from cbir.errors import UsageError
    from cbir.present.sheet import FORMATS

    for name, suffixes in (("html", None), ("sheet", tuple(FORMATS))):
        file = options[name]
        if file is None:
            continue
        folder = os.path.dirname(os.path.abspath(file))
        if os.path.isdir(file) or not os.path.isdir(folder):
            raise UsageError(
                f"--{name}: expected a file in a folder that is there; received {file}."
            )
        if suffixes and not file.lower().endswith(suffixes):
            raise UsageError(f"--{name}: expected {', '.join(suffixes)}; received {file}.")


def _read(image: str) -> list[tuple[ImageInput, str]]:
    """What an argument means: bytes from stdin, a file's path, an id; and its name."""
    from cbir.errors import UsageError

    if image == "-":
        data = sys.stdin.buffer.read()
        if not data:
            raise UsageError("-: expected a picture on standard input; received nothing.")
        return [(data, "-")]
    if os.path.isfile(image):
        return [(image, image)]
    number = _number(image)
    if number:
        return [(int(number), f"id:{number}")]
    raise UsageError(
        "IMAGE: expected a picture file, a folder of them, - or the id of an indexed image (id:12);"
        f" there is nothing at {image}."
    )


def _number(image: str) -> str:
    """The digits of an id, "" where it is none."""
    number = image.removeprefix("id:")
    return number if number.isascii() and number.isdecimal() else ""


def _is_folder(image: str) -> bool:
    return os.path.isdir(image) and not _number(image)


def _read_all(images: Sequence[str]) -> tuple[list[tuple[ImageInput, str]], list[Failure]]:
    """What all arguments mean, and what a folder has that cannot be looked at."""
    asked: list[tuple[ImageInput, str]] = []
    unseen: list[Failure] = []
    for image in images:
        if _is_folder(image):
            found, failed = _below(image)
            asked += found
            unseen += failed
        else:
            asked += _read(image)
    return asked, unseen


def _below(folder: str) -> tuple[list[tuple[ImageInput, str]], list[Failure]]:
    """All pictures below a folder, by path, and what could not be looked at."""
    from cbir.errors import UsageError
    from cbir.images import ScanOptions, scan

    seen = scan(os.path.abspath(folder), ScanOptions())
    paths = sorted(os.path.join(folder, *ref.path.split("/")) for ref in seen.refs)
    if not paths:
        raise UsageError(f"IMAGE: expected a folder with pictures; there are none below {folder}.")
    return [(path, path) for path in paths], seen.failures


def _streams(options: dict[str, Any]) -> bool:
    """Whether each ranking is written as soon as it is there, and then forgotten."""
    lines = options["form"] in {"jsonl", "paths", "null"}
    return lines and not (options["html"] or options["sheet"])


def _ask(
    index: Index, images: Sequence[ImageInput], names: Sequence[str], options: dict[str, Any]
) -> tuple[list[Ranking], list[Any]]:
    """The rankings; with several queries, those that cannot be read are listed and left out."""
    from dataclasses import replace

    from cbir.config import QuerySpec
    from cbir.query import match_metadata
    from cbir.types import Failure

    spec = QuerySpec(options["k"], options["min_score"], options["where"], options["keep_self"],
                     options["min_match"])  # fmt: skip
    extra = None
    if options["metadata"]:
        extra = match_metadata(index.catalog, options["metadata"]).rows
    if options["combine"]:
        weights = options["weight"] or None
        ranking = index.query_combined(
            images, spec, weights=weights, crop=options["crop"], extra=extra
        )
        return [replace(ranking, query=" + ".join(names))], []
    rankings, failed = [], []
    found = index.query_each(images, spec, crop=options["crop"], extra=extra)
    for one, name in zip(found, names, strict=True):
        if isinstance(one, Failure):
            failed.append(replace(one, path=name))
            continue
        ranking = replace(one, query=name)
        if _streams(options):
            _show([ranking], options["form"])
            ranking = replace(ranking, hits=ranking.hits[:1])
        rankings.append(ranking)
    return rankings, failed


def _show(rankings: Sequence[Ranking], form: str | None, several: bool = False) -> None:
    from cbir import present
    from cbir.cli.output import result, result_bytes

    if not rankings:
        return
    if form == "json":
        result(present.to_json(rankings, several))
    elif form == "jsonl":
        result(present.to_jsonl(rankings))
    elif form == "csv":
        result(present.to_csv(rankings))
    elif form in {"paths", "null"}:
        result_bytes(present.to_paths(rankings, null=form == "null"))
    else:
        result(present.table(rankings))


def _write_html(rankings: Sequence[Ranking], file: str) -> None:
    from cbir import present
    from cbir.cli.output import note

    options = present.PageOptions(date=datetime.now().strftime("%Y-%m-%d %H:%M"))
    present.write_page(file, present.page(rankings, options))
    note(f"Page: {file}")


def _write_sheet(rankings: Sequence[Ranking], file: str) -> None:
    from cbir import present
    from cbir.cli.output import note

    present.write_sheet(file, present.contact_sheet(rankings))
    note(f"Contact sheet: {file}")
