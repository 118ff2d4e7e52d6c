"""`cbir benchmark recall --self-queries`: a failure profile without labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import between, number, pair

if TYPE_CHECKING:
    from cbir.evaluate import SelfReport


def self_queries_report(folder: str | None, options: dict[str, Any]) -> None:
    """Ask an index for the sources of edited pictures, and say how often it finds them."""
    from cbir.cli.output import EXIT_SKIPPED, Bar, failures, note, quit_with, result
    from cbir.errors import UsageError
    from cbir.evaluate import self_queries
    from cbir.query import Index

    for name in ("manifest", "landmarks", "groups", "embedder", "rescore", "output", "html"):
        if options[name] or folder:
            raise UsageError(
                "--self-queries: expected an index alone (-i INDEX), which has its own images and "
                f"embedder; received {'FOLDER' if folder else '--' + name} too."
            )
    with Index.open(options["index"]) as index, Bar() as bar:
        bar.stage("self-queries", min(options["sample"], len(index)))
        found = self_queries(index, sample=options["sample"], advance=bar.advance)
        for line in index.notes:
            note(f"Note: {line}. `cbir check --repair` mends it.")
    result(_attacks_json(options["index"], found) if options["as_json"] else _attacks(found))
    failures(found.failures)
    if found.failures and options["strict"]:
        quit_with(EXIT_SKIPPED)


def _attacks(found: SelfReport) -> str:
    from cbir.present import columns, count

    rows = [
        (a.name, *(number(a.recall[k]) for k in a.recall), between(a.interval),
         number(a.source_score))
        for a in found.attacks
    ]  # fmt: skip
    header = ("edit", "recall@1", "recall@5", "recall@10", "95 % of recall@1", "score")
    return (
        f"{count(found.images, 'picture')} of the index, each edited in {len(found.attacks)} ways: "
        "how often is the source found?\n\n"
        + columns(header, rows)
        + f"\nrecall@1 over all edits: {number(found.recall_at_1)}. Score: mean of the source's, "
        "where found.\n"
    )


def _attacks_json(index: str, found: SelfReport) -> str:
    rows = {
        a.name: {
            **{f"recall@{k}": round(value, 6) for k, value in a.recall.items()},
            "interval": pair(a.interval), "queries": a.queries,
            "source_score": None if a.source_score != a.source_score else round(a.source_score, 6),
        }
        for a in found.attacks
    }  # fmt: skip
    whole = {"index": index, "images": found.images, "recall@1": round(found.recall_at_1, 6),
             "edits": rows}  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"
