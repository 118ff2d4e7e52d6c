"""`cbir export`: vectors and rows for other programs."""

from __future__ import annotations

import click

from cbir.cli.options import index_option


@click.command("export", short_help="Write embeddings or a table of images.")
@index_option
@click.option("--vectors", metavar="FILE.npz",
              help="Write ids, unit vectors and paths as NumPy arrays.")  # fmt: skip
@click.option("--csv", "table", metavar="FILE|-", help="Write a row for each image; - for stdout.")
def export_command(index: str, vectors: str | None, table: str | None) -> None:
    """Write the embeddings, or a table of all images with their metadata."""
    import io

    from cbir.cli.output import note, result
    from cbir.errors import UsageError
    from cbir.lifecycle import export_csv, export_vectors
    from cbir.present import count, write_whole

    if vectors is None and table is None:
        raise UsageError(
            "export: expected --vectors FILE.npz or --csv FILE (or both); received neither."
        )
    if vectors is not None:
        rows, dims = export_vectors(index, vectors)
        note(f"{count(rows, 'vector')} of {dims} dims in {vectors}")
    if table is not None:
        out = io.StringIO(newline="")
        number = export_csv(index, out)
        if table == "-":
            result(out.getvalue())
        else:
            write_whole(table, out.getvalue().encode())
            note(f"{count(number, 'image')} in {table}")
