"""`cbir benchmark speed`: how fast pictures become features on this machine."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

import click

from cbir.cli.benchmark.common import load_embedder, machine, plain_row
from cbir.cli.options import embedder_options, json_option, runtime_options

if TYPE_CHECKING:
    from cbir.config import FeatureExtractor
    from cbir.evaluate.steps import StepRow

MOST = 256


@click.command("speed", short_help="How fast pictures become features on this machine.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@embedder_options
@runtime_options
@click.option("--precision", "precisions", multiple=True,
              type=click.Choice(["f32", "bf16", "int8"]), default=("f32",), show_default=True,
              help="What the network is computed in; may be repeated.")  # fmt: skip
@json_option
def speed_command(
    folder: str | None, precisions: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Measure reading, embedding and both at once, as `cbir index` does them.

    On pictures of FOLDER (256 at most, the first by name; without it, on the sample's photographs
    of 480 pixels). Steps take turns, so that what else the machine does meets all alike. images/s
    are of all cores by the clock; ms of computing are added up over cores; ms alone is one picture
    from its file to its feature. Without --embedder: the network that a new index has. No index is
    touched, and nothing is kept.
    """
    from cbir.cli.output import Bar, note, result
    from cbir.evaluate.steps import LAPS, measure_steps

    with tempfile.TemporaryDirectory() as temporary, Bar() as bar:
        files = _files(folder, temporary)
        made = _embedders(options, precisions, files)
        bar.stage("measuring", LAPS + 1)
        rows, read = measure_steps(made, files, bar.advance)
        first = next(iter(made.values()))
        name = first.spec.backbone
        run_by = str(getattr(getattr(first, "run_by", None), "name", ""))
        for line in getattr(first, "notes", ()):
            note(f"Note: {line}")
        if read < len(files):
            note(f"Note: {len(files) - read} of {len(files)} files cannot be read; left out")
    if as_json:
        whole = {"about": machine(), "embedder": name, "run_by": run_by, "pictures": read,
                 "rows": [plain_row(row) for row in rows]}  # fmt: skip
        result(json.dumps(whole, indent=2) + "\n")
        return
    result(speed_text(rows, f"{name} by {run_by}" if run_by else name, read))


def _files(folder: str | None, temporary: str) -> list[str]:
    """Picture files of a folder, or the sample's photographs."""
    from cbir.errors import UsageError
    from cbir.images import ScanOptions, make_sample, scan

    if folder is None:
        make_sample(temporary)
        folder = temporary
    refs = scan(os.path.abspath(folder), ScanOptions()).refs
    files = sorted(ref.file for ref in refs)
    if temporary == folder:
        files = [file for file in files if os.path.basename(file) == "original.jpg"]
    if not files:
        raise UsageError(f"benchmark speed: expected pictures below {folder}; there are none.")
    return files[:MOST]


def _embedders(
    options: dict[str, Any], precisions: tuple[str, ...], files: list[str]
) -> dict[str, FeatureExtractor]:
    """The network in each precision; int8 takes its ranges from the pictures."""
    from cbir.evaluate import CLASSICAL
    from cbir.lifecycle import EmbedderRequest
    from cbir.lifecycle.precision import settle

    name = options["embedder"]
    if name in CLASSICAL or set(precisions) == {"f32"}:
        embedder = load_embedder(name, options)
    else:  # what was compiled alone cannot be had in another precision
        embedder = EmbedderRequest(
            name, options["cut"], options["input_size"], options["resize"], options["weights"],
            "auto",
        ).load()  # fmt: skip
    return {
        precision: settle(embedder, precision, files).embedder  # type: ignore[arg-type]
        for precision in dict.fromkeys(precisions)
    }


def speed_text(rows: list[StepRow], name: str, pictures: int) -> str:
    """The table."""
    from cbir.present import columns, count

    cells = [
        (row.step, f"{row.images_per_second:,.1f}", f"{row.cpu_ms:.2f}", _ms(row.alone_ms))
        for row in rows
    ]
    header = ("step", "images/s", "ms of computing", "ms alone")
    return f"{name}; {count(pictures, 'picture')}\n" + columns(header, cells)


def _ms(value: float) -> str:
    return "" if value != value else f"{value:.1f}"
