"""The `cbir` command: one file a command; only this room prints.

Everything heavy is imported inside the commands, so that help and usage errors answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from cbir import __version__
from cbir.cli.adopt import adopt_command
from cbir.cli.backbone import backbone_command
from cbir.cli.benchmark import benchmark_command
from cbir.cli.check import check_command
from cbir.cli.export import export_command
from cbir.cli.finetune import finetune_command
from cbir.cli.index import index_command
from cbir.cli.info import info_command
from cbir.cli.models import models_command
from cbir.cli.query import query_command
from cbir.cli.remove import remove_command
from cbir.cli.sample import sample_command
from cbir.cli.train import train_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="cbir")
def cli() -> None:
    """Find images by example: index a folder, then ask for what looks like a picture.

    \b
    cbir index ~/Photos          index a folder, or bring its index up to date
    cbir query picture.jpg       the nearest images of the index

    Results go to stdout, everything else to stderr.

    \b
    Exit codes: 0 done, 1 nothing found (with --fail-empty), 2 usage, 3 index missing or not
    compatible, 4 finished with skipped files (with --strict), 5 failed, 6 faults found or
    an embedder not adopted, 130 interrupted (run again to go on).
    """


for _command in (
    index_command,
    query_command,
    info_command,
    check_command,
    remove_command,
    export_command,
    models_command,
    finetune_command,
    sample_command,
    backbone_command,
    train_command,
    adopt_command,
    benchmark_command,
):
    cli.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from cbir.cli.output import exit_code

    try:
        code = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="cbir",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return exit_code(KeyboardInterrupt())
    except Exception as error:
        return exit_code(error)
    return code if isinstance(code, int) else 0
