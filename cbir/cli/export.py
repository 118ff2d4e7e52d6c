"""`cbir export`: vectors and rows for other programs."""

from __future__ import annotations

import click

from cbir.cli.options import index_option


@click.command("export", short_help="Write embeddings or a table of images.")
@index_option
@click.option("--vectors", metavar="FILE.npz",
              help="Write ids, unit vectors and paths as NumPy arrays.")  # fmt: skip
@click.option("--csv", "table", metavar="FILE|-", help="Write a row for each image; - for stdout.")
@click.option("--neighbours", metavar="FILE|-",
              help="Write the nearest other images of every image as CSV; - for stdout.",
              )  # fmt: skip
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True,
              help="With --neighbours: how many of each.")  # fmt: skip
def export_command(
    index: str, vectors: str | None, table: str | None, neighbours: str | None, k: int
) -> None:
    """Write the embeddings, a table of all images with their metadata, or who is near whom."""
    import io

    from cbir.cli.benchmark.common import given
    from cbir.cli.output import note, result
    from cbir.errors import UsageError
    from cbir.lifecycle import export_csv, export_vectors
    from cbir.present import count, write_whole

    if vectors is None and table is None and neighbours is None:
        raise UsageError(
            "export: expected --vectors FILE.npz, --csv FILE or --neighbours FILE (or several of "
            "them); received none."
        )
    if given("k") and neighbours is None:
        raise UsageError("-k: expected together with --neighbours; received without it.")
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
    if neighbours is not None:
        _write_neighbours(index, neighbours, k)


def _write_neighbours(index: str, file: str, k: int) -> None:
    """The k-NN graph, part by part."""
    from collections.abc import Iterator

    from cbir.cli.output import note, result
    from cbir.lifecycle import export_neighbours
    from cbir.present import count, write_parts

    if file == "-":
        for _, text in export_neighbours(index, k):
            result(text)
        return
    images = 0

    def parts() -> Iterator[bytes]:
        nonlocal images
        for number, text in export_neighbours(index, k):
            images += number
            yield text.encode()

    write_parts(file, parts())
    note(f"Neighbours of {count(images, 'image')} in {file}")
