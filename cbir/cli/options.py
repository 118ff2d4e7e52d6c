"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_INDEX = os.path.join("index_data", "default")


def index_option(command: Command) -> Command:
    """`-i INDEX`: which index; $CBIR_INDEX, else index_data/default."""
    return click.option(
        "-i",
        "--index",
        "index",
        metavar="INDEX",
        default=DEFAULT_INDEX,
        envvar="CBIR_INDEX",
        show_default="$CBIR_INDEX, else index_data/default",
        help="Folder of the index.",
        callback=_named,
    )(command)


def _named(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """An index folder must have a name: an empty one would mean the folder one is in."""
    if not value.strip():
        raise click.BadParameter("expected the folder of an index; received an empty name.")
    return value


def strict_option(command: Command) -> Command:
    """`--strict`: exit code 4 where files were skipped."""
    return click.option("--strict", is_flag=True, help="Exit with 4 when files had to be skipped.")(
        command
    )


def json_option(command: Command) -> Command:
    """`--json`: machine-readable results."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def embedder_options(command: Command) -> Command:
    """Which embedder, and how it is made from a backbone."""
    return click.option(
        "--embedder",
        metavar="NAME|DIR",
        help="Backbone (`cbir models` lists them) or folder of a saved embedder. "
        "Default: the index's own; for a new index, efficientnet-lite0.",
    )(backbone_options(command))


def runtime_options(command: Command) -> Command:
    """What runs the network: `--runtime`, `--device`. They hold for the whole command."""
    for option in (
        click.option("--device", metavar="DEVICE", callback=_runtime, expose_value=False,
                     help="cpu, gpu or gpu:N. Default: $CBIR_DEVICE, else a GPU where Keras finds "
                     "one, else the processor."),
        click.option("--runtime", type=click.Choice(["auto", "keras", "openvino"]),
                     callback=_runtime, expose_value=False,
                     help="What runs the network. auto: compiled by OpenVINO, on a processor, else "
                     "Keras. Default: $CBIR_RUNTIME, else auto."),
    ):  # fmt: skip
        command = option(command)
    return command


def _runtime(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Let the choice hold until the command ends; what is not named stays as it was."""
    if value is None:
        return
    from cbir.config import RuntimeChoice, runtime_choice, using_runtime

    named = {**runtime_choice().to_dict(), str(parameter.name): value}
    context.with_resource(using_runtime(RuntimeChoice.from_dict(named)))


def precision_option(command: Command) -> Command:
    """`--precision`: what the network is computed in."""
    return click.option(
        "--precision", type=click.Choice(["f32", "bf16", "int8", "auto"]),
        help="What the network is computed in. bf16 and int8 change features a little; int8 takes "
        "its ranges from the gallery's pictures. auto: the fastest here that gives the same "
        "answers on a sample of the pictures. Default: the index's own; for a new index, f32.",
    )(command)  # fmt: skip


def backbone_options(command: Command) -> Command:
    """How an embedder is made from a backbone."""
    for option in reversed(
        [
            click.option(
                "--weights",
                metavar="FILE",
                help="Weights of the backbone (.weights.h5 or .h5, without the classifier), "
                "where Keras cannot fetch them.",
            ),
            click.option(
                "--cut", metavar="LAYER", default="", help="Layer whose output is the feature."
            ),
            click.option(
                "--input-size", type=int, metavar="PIXELS", help="Side of the square input."
            ),
            click.option(
                "--resize",
                type=click.Choice(["squash", "crop", "pad"]),
                help="How a picture becomes square. Default: squash.",
            ),
        ]
    ):
        command = option(command)
    return command


def search_options(command: Command) -> Command:
    """How the search index is made: `--kind`, `--recall`, `--memory`, `--latency`."""
    for option in (
        click.option("--latency", type=click.FloatRange(min=0, min_open=True), metavar="MS",
                     help="Time of one query up to which search stays exact. Default: 25."),
        click.option("--memory", metavar="SIZE", callback=_size,
                     help="Memory that the search index may take, e.g. 500MB or 2GB. Default: half "
                     "of the machine's."),
        click.option("--recall", type=click.FloatRange(0, 1, min_open=True), metavar="X",
                     help="Share of the ten nearest that an approximate search is tuned to find. "
                     "Default: 0.98."),
        click.option("--kind", type=click.Choice(["auto", "flat", "hnsw", "ivf", "pq"]),
                     help="flat: exact search. hnsw: a graph, quickest. ivf: lists, less memory. "
                     "pq: lists of bits, least memory. auto: exact as long as it is quick enough, "
                     "then the first of these that fits the memory. Default: auto."),
    ):  # fmt: skip
        command = option(command)
    return command


_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A size in bytes: a number and a unit."""
    if value is None:
        return None
    text = value.strip().upper()
    number = text.rstrip("BKMGT")
    try:
        size = int(float(number) * _UNITS[text[len(number) :].strip()])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size < 1:
        raise click.BadParameter(f"expected a size such as 500MB or 2GB; received {value!r}.")
    return size
