"""What the benchmark commands share: where the truth comes from, systems by name, numbers."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cbir.config import FeatureExtractor
    from cbir.evaluate import Truth
    from cbir.present.album import AlbumPage

Command = TypeVar("Command", bound=Callable[..., Any])


def truth_options(command: Command) -> Command:
    """Where queries, gallery and labels come from: FOLDER, --manifest or --landmarks."""
    for option in reversed(
        [
            click.argument("folder", required=False,
                           type=click.Path(exists=True, file_okay=False)),
            click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
                         help="CSV with the columns path (relative to the CSV), label, and any "
                         "others."),
            click.option("--query-where", multiple=True, metavar="TERM",
                         help="Which images are queries. Default: all of the gallery, each left "
                         "out of its own answer."),
            click.option("--gallery-where", multiple=True, metavar="TERM",
                         help="Which images may be found. Default: all."),
            click.option("--landmarks", metavar="JSON",
                         type=click.Path(exists=True, dir_okay=False),
                         help="Gallery, and queries with ok/easy/hard/junk images and boxes."),
            click.option("--difficulty", type=click.Choice(["easy", "medium", "hard"]),
                         default="medium", show_default=True,
                         help="With --landmarks: what counts as relevant."),
            click.option("--groups", type=click.IntRange(min=2), metavar="N",
                         help="With FOLDER: each N files, by name, show one thing (UKBench: 4)."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def read_truth(command: str, folder: str | None, options: Mapping[str, Any]) -> Truth:
    """The protocol that the options of `truth_options` name."""
    from cbir import evaluate
    from cbir.errors import UsageError

    sources = [s for s in (folder, options["manifest"], options["landmarks"]) if s]
    if len(sources) != 1:
        raise UsageError(
            f"{command}: expected one of FOLDER, --manifest CSV and --landmarks JSON; "
            f"received {len(sources)}."
        )
    if options["manifest"]:
        return evaluate.from_manifest(
            options["manifest"], options["query_where"], options["gallery_where"],
            options.get("label") or "label",
        )  # fmt: skip
    for name in ("query_where", "gallery_where", "label"):
        if options.get(name):
            raise UsageError(
                f"{flag(name)}: expected together with --manifest, or for an index; received "
                f"{'FOLDER' if folder else '--landmarks'}."
            )
    if options["landmarks"]:
        return evaluate.from_landmarks(options["landmarks"], options["difficulty"])
    assert folder is not None
    if options["groups"]:
        return evaluate.from_groups(folder, options["groups"])
    return evaluate.from_folders(folder)


def load_embedder(name: str | None, options: Mapping[str, Any] | None = None) -> FeatureExtractor:
    """An embedder by name or folder: classical ones, stock ones, saved ones.

    `options` are those of `embedder_options` (cut, input_size, resize, weights); none: defaults.
    """
    from cbir.config import DEFAULT_EMBEDDER
    from cbir.evaluate import CLASSICAL
    from cbir.lifecycle import EmbedderRequest

    name = name or DEFAULT_EMBEDDER
    if name in CLASSICAL:
        return CLASSICAL[name]()
    if options is None:
        return EmbedderRequest(name).load()
    return EmbedderRequest(
        name, options["cut"], options["input_size"], options["resize"], options["weights"]
    ).load()


def given(name: str) -> bool:
    """Whether an option stands on the command line (not in the environment, no default)."""
    from click.core import ParameterSource

    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def flag(name: str) -> str:
    """An option's name as one types it."""
    return "-i" if name == "index" else "--" + name.replace("_", "-")


def refuse(command: str, names: Sequence[str], why: str) -> None:
    """UsageError where one of these options was given: it would be ignored."""
    from cbir.errors import UsageError

    for name in names:
        if given(name):
            raise UsageError(f"{command}: {why}; received {flag(name)} too.")


def check_html(file: str | None) -> None:
    """Say what is wrong with the page's place before measuring, not after it."""
    from cbir.errors import UsageError

    if file is None:
        return
    folder = os.path.dirname(os.path.abspath(file))
    if os.path.isdir(file) or not os.path.isdir(folder):
        raise UsageError(f"--html: expected a file in a folder that is there; received {file}.")


def write_album_page(file: str, page: AlbumPage, again: str = "") -> None:
    """Write a report with pictures, and say where it is and what it could not show."""
    from cbir.cli.output import note
    from cbir.present import count, write_page

    write_page(file, page.html)
    note(f"Report: {file} ({count(page.pictures, 'picture')} embedded)")
    if page.missing:
        hint = (
            "Where they were moved, name their folder: cbir benchmark recall FOLDER --rescore DIR"
        )
        remedy = f"{again} makes it anew." if again else f"{hint} --html {file}"
        note(
            f"{count(page.missing, 'picture')} could not be read, and are grey in the report. "
            f"{remedy}"
        )


def machine() -> dict[str, Any]:
    """What a measurement was made with and on; no names of hosts or people."""
    from cbir import __version__
    from cbir.machine import processor

    return {
        "cbir": __version__, "python": platform.python_version(), "system": platform.system(),
        **processor(),
    }  # fmt: skip


def plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """Rounded numbers; None where there is none, since JSON has no NaN."""
    return {name: None if v != v else round(v, 6) for name, v in values.items()}


def plain_row(row: Any) -> dict[str, Any]:
    """A data class of numbers and names, for JSON."""
    values = asdict(row)
    numbers = {name: value for name, value in values.items() if isinstance(value, float)}
    return {**values, **plain(numbers)}


def pair(interval: tuple[float, float]) -> list[float | None]:
    """An interval for JSON."""
    return [None if v != v else round(v, 6) for v in interval]
