"""`cbir benchmark index`: what each index kind costs and loses on one's own index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cbir.cli.benchmark.common import machine, plain_row
from cbir.cli.options import index_option, json_option
from cbir.present.numbers import number

if TYPE_CHECKING:
    from cbir.evaluate.kinds import KindRow

KINDS = ("flat", "hnsw", "ivf", "pq")


@click.command("index", short_help="What each index kind costs and loses on your index.")
@index_option
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS),
              help="Only this kind; may be repeated. Default: all.")  # fmt: skip
@click.option("--recall", type=click.FloatRange(0, 1, min_open=True), default=0.98,
              show_default=True, help="Index recall@10 that approximate kinds are tuned to.",
              )  # fmt: skip
@json_option
def index_command(index: str, kinds: tuple[str, ...], recall: float, as_json: bool) -> None:
    """Build every index kind from the embeddings of the index -i, and ask it.

    Recall is index recall@10: how many of the exact ten nearest are found, for up to 500 images
    that were held out while it was built. One query is timed on one core, all together on all
    cores; neither has the embedding of a picture in it. The index itself stays as it is: change it
    with `cbir index --kind KIND --reindex`.
    """
    from cbir.catalog import Catalog
    from cbir.cli.output import Bar, result
    from cbir.errors import UsageError
    from cbir.evaluate.kinds import measure_kinds
    from cbir.index import Wanted
    from cbir.index.planner import LEAST
    from cbir.query import load_state

    with Catalog(index) as catalog, catalog.reading():
        state = load_state(catalog)
        if state is None or not len(state.live):
            raise UsageError(
                f"The index {index} holds no images yet. Add some with `cbir index FOLDER`."
            )
        wanted = kinds or KINDS
        with Bar() as bar:
            bar.stage("index kinds", len(wanted))
            rows = measure_kinds(
                state.stored, state.projection.dims, wanted, Wanted(recall=recall), bar.advance
            )
        images, dims, now = len(state.live), state.projection.dims, state.live.base.kind
    left_out = [kind for kind in wanted if kind not in {row.kind for row in rows}]
    if as_json:
        whole = {"about": machine(), "images": images, "dims": dims, "kind": now,
                 "target": recall, "rows": [plain_row(row) for row in rows],
                 "left_out": left_out}  # fmt: skip
        result(json.dumps(whole, indent=2) + "\n")
        return
    result(kinds_text(rows, images, dims, now))
    if left_out:
        result(f"Left out: {', '.join(left_out)}; they take {LEAST:,} images.\n")


def kinds_text(rows: list[KindRow], images: int, dims: int, now: str) -> str:
    """The table."""
    from cbir.present import columns, count

    header = ("kind", "recall@10", "ms/query", "p99", "queries/s", "bytes/image", "build s",
              "effort")  # fmt: skip
    cells = [
        (
            row.kind + (" (now)" if row.kind == now else ""),
            number(row.recall) + ("" if row.reached else " (below)"),
            _ms(row.p50_ms), _ms(row.p99_ms), _count(row.at_once), f"{row.bytes_per_image:.0f}",
            f"{row.build_s:.1f}", str(row.effort or ""),
        )
        for row in rows
    ]  # fmt: skip
    asked = count(rows[0].queries, "image") if rows else "no images"
    return f"{count(images, 'image')}, {dims} dims; {asked} asked\n" + columns(header, cells)


def _ms(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def _count(value: float) -> str:
    return "" if value != value else f"{value:,.0f}"
