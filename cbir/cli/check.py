"""`cbir check`: find what is wrong with an index, and mend it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from cbir.cli.options import index_option, json_option


@click.command("check", short_help="Compare an index with its files and with itself.")
@index_option
@click.option("--repair", "mend", is_flag=True,
              help="Mend what can be mended, and say what was done.")  # fmt: skip
@json_option
def check_command(index: str, mend: bool, as_json: bool) -> None:
    """Compare the index with its files and with itself.

    Finds files that are gone or changed, features and vectors that are missing or cannot be used,
    derived files that are torn or stale, and an embedder that is not known here. Exits with 6
    where faults remain.
    """
    from cbir.cli.output import EXIT_FAULTS, quit_with, result
    from cbir.lifecycle import check, repair
    from cbir.present import columns, count, visible

    report = repair(index) if mend else check(index)
    if as_json:
        result(json.dumps(asdict(report), indent=2) + "\n")
    else:
        lines = [f"repaired: {line}" for line in report.repaired]
        if report.faults:
            rows = [(f.kind, f.count, f"{f.remedy}") for f in report.faults]
            lines.append(columns(("fault", "count", "what to do"), rows).rstrip("\n"))
            for fault in report.faults:
                lines += [f"  {fault.kind}: {visible(example)}" for example in fault.examples]
        else:
            lines.append(f"{index}: {count(report.images, 'image')}, no faults")
        result("\n".join(lines) + "\n")
    if report.faults:
        quit_with(EXIT_FAULTS)
