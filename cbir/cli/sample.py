"""`cbir sample`: a gallery to try things with."""

from __future__ import annotations

import click


@click.command("sample", short_help="Make a sample gallery.")
@click.argument("folder", metavar="DIR")
def sample_command(folder: str) -> None:
    """Make a sample gallery in DIR from the photographs that come with scikit-image.

    Each photo has its own folder with several views (crops, flips, light, blur, JPEG, ...), so
    that a query has right answers that one can see.
    """
    from cbir.cli.output import result
    from cbir.images import make_sample

    report = make_sample(folder)
    result(f"{report.images} images of {report.photos} photographs in {folder}\n")
