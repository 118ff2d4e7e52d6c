"""Where labelled pictures come from: FOLDER, --manifest (with terms), perhaps --pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cbir.train.samples import Samples

Command = TypeVar("Command", bound=Callable[..., Any])


def labelled_options(command: Command) -> Command:
    """FOLDER, --manifest, --label, --train-where and --val-where."""
    for option in reversed(
        [
            click.argument("folder", required=False,
                           type=click.Path(exists=True, file_okay=False)),
            click.option("--manifest", metavar="CSV", type=click.Path(exists=True, dir_okay=False),
                         help="Columns path (relative to the CSV), label, and any others."),
            click.option("--label", metavar="COLUMN",
                         help="Column of the --manifest that has the classes. Default: label."),
            click.option("--train-where", multiple=True, metavar="TERM",
                         help="With --manifest: which images to learn from. Default: all."),
            click.option("--val-where", multiple=True, metavar="TERM",
                         help="With --manifest: which images are for validation. Default: a part "
                         "of those to learn from is kept for it."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def read_samples(command: str, folder: str | None, options: Mapping[str, Any]) -> Samples:
    """The pictures that the options name; `--pairs` and `--unlabelled` where the command has them.

    Raises UsageError where none or several sources are named, or terms without a manifest.
    """
    from cbir.errors import UsageError
    from cbir.train import samples

    manifest, pairs = options["manifest"], options.get("pairs")
    sources = [source for source in (folder, manifest, pairs) if source]
    if len(sources) != 1:
        known = "FOLDER, --manifest CSV and --pairs CSV" if "pairs" in options else (
            "FOLDER and --manifest CSV")  # fmt: skip
        raise UsageError(f"{command}: expected one of {known}; received {len(sources)}.")
    if manifest:
        bare = options.get("unlabelled") and not options["label"]
        if options.get("unlabelled") and options["val_where"]:
            raise UsageError("--val-where: expected with labels; received --unlabelled too.")
        return samples.from_manifest(
            manifest, options["train_where"], options["val_where"],
            None if bare else options["label"] or "label",
        )  # fmt: skip
    for name in ("train_where", "val_where", "label"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')}: expected together with --manifest.")
    if pairs:
        return samples.from_pairs(pairs)
    assert folder is not None
    return samples.from_folders(folder)
