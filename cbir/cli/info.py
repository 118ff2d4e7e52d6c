"""`cbir info`: what an index is and holds."""

from __future__ import annotations

import json
from typing import Any

import click

from cbir.cli.options import index_option, json_option


@click.command("info", short_help="Show what an index holds.")
@index_option
@click.option("--failures", "list_failures", is_flag=True,
              help="List the files that could not be used, with reasons.")  # fmt: skip
@json_option
def info_command(index: str, list_failures: bool, as_json: bool) -> None:
    """Show what the index holds and how it was made."""
    from cbir.catalog import Catalog
    from cbir.cli.output import result
    from cbir.lifecycle import info
    from cbir.present import failures_table

    facts = info(index)
    if list_failures:
        with Catalog(index) as catalog:
            failed = catalog.failures()
        if as_json:
            facts["failures"] = [{"path": f.path, "reason": f.reason} for f in failed]
        else:
            result(failures_table(failed, None) if failed else "no failures\n")
            return
    result(json.dumps(facts, indent=2) + "\n" if as_json else _text(facts))


def _text(facts: dict[str, Any]) -> str:
    from cbir.config import EmbedderSpec
    from cbir.lifecycle import describe
    from cbir.present import count, human_size, pairs

    images, failed = int(facts["images"]), int(facts["failures"])
    rows: list[tuple[str, Any]] = [
        ("images", f"{images:,} ({facts['different_pictures']:,} different)"),
        ("failures", f"{failed:,}" + (" (cbir info --failures)" if failed else "")),
    ]
    for root in facts["roots"]:
        state = "" if root["there"] else ", not there now"
        rows.append(("folder", f"{root['path']} ({count(root['images'], 'image')}{state})"))
    if facts["embedder"]:
        rows += [
            ("embedder", describe(EmbedderSpec.from_dict(facts["embedder"]))),
            ("fingerprint", facts["fingerprint"]),
            ("feature", f"{facts['feature_dims']} dims"),
        ]
    if facts["precision"]:
        rows.append(("precision", facts["precision"]["why"]))
    if facts["index_spec"]:
        spec, fitted = facts["index_spec"], facts["fitted_on"]
        how = f"{spec['dims']} principal components, fitted on {fitted:,} pictures"
        rows += [
            ("projection", how if fitted else "none (unit-length features)"),
            ("search", _search(facts["search"])),
            ("match", _match(facts["calibrated_on"])),
            ("generation", f"{facts['generation']} of {facts['created']}"),
        ]
    if facts["without_feature"]:
        missing = count(facts["without_feature"], "image")
        rows.append(("not found", f"{missing} that its embedder has not seen (cbir index)"))
    if facts["former"]:
        former = facts["former"]
        what = describe(EmbedderSpec.from_dict(former["embedder"]))
        rows.append(("former", f"{what}, generation {former['generation']} (cbir adopt "
                               "--roll-back)"))  # fmt: skip
    if facts["metadata_columns"]:
        rows.append(("metadata", ", ".join(facts["metadata_columns"])))
    rows.append(("on disk", human_size(int(facts["bytes"]))))
    return pairs(str(facts["index"]), rows)


def _match(calibrated_on: int | None) -> str:
    if calibrated_on is None:
        return "not calibrated"
    return f"calibrated on {calibrated_on:,} pictures"


def _search(made: dict[str, Any] | None) -> str:
    """The index kind with what was measured; an index of before there were kinds is exact."""
    if made is None:
        return "flat (exact)"
    found = "exact" if made["kind"] == "flat" else (
        f"index recall@10 {made['recall']:.3f} of {made['target']:g} asked for, on "
        f"{made['queries']:,} held-out images"
    )  # fmt: skip
    parts = [found]
    if made["ms"] is not None:
        parts.append(f"{made['ms']:.2g} ms a query")
    parts += [f"{made['bytes_per_vector']:,.0f} bytes an image", made["reason"]]
    return f"{made['kind']} ({'; '.join(parts)})"
