"""`cbir benchmark`: measuring retrieval on one's own images."""

from __future__ import annotations

import click

from cbir.cli.benchmark.compare import compare_command
from cbir.cli.benchmark.kinds import index_command
from cbir.cli.benchmark.match import match_command
from cbir.cli.benchmark.probe import probe_command
from cbir.cli.benchmark.recall import recall_command
from cbir.cli.benchmark.speed import speed_command


@click.group("benchmark", short_help="Measure retrieval on your own images.")
def benchmark_command() -> None:
    """Measure retrieval on your own images."""


benchmark_command.add_command(index_command)
benchmark_command.add_command(match_command)
benchmark_command.add_command(recall_command)
benchmark_command.add_command(compare_command)
benchmark_command.add_command(probe_command)
benchmark_command.add_command(speed_command)

__all__ = ["benchmark_command"]
