"""`cbir benchmark recall` on an index: its own images, or a manifest's, ask it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import given, refuse

if TYPE_CHECKING:
    from cbir.evaluate import Choice, IndexTruth, Measured
    from cbir.query import Index

ITS_OWN = ("embedder", "weights", "cut", "input_size", "resize", "dims", "projection", "groups",
           "difficulty")  # fmt: skip


def asks_index(folder: str | None, options: dict[str, Any]) -> bool:
    """Whether an index is the gallery; UsageError where that is not clear.

    -i on the command line says so; $CBIR_INDEX and the default place count only where nothing else
    is named.
    """
    from cbir.catalog.catalog import catalog_path
    from cbir.errors import UsageError

    other = "FOLDER" if folder else "--landmarks" if options["landmarks"] else None
    if given("index") and other:
        raise UsageError(
            f"-i INDEX: expected alone, or together with --manifest; received {other} too."
        )
    if other or (options["manifest"] and not given("index")):
        return False
    if not given("index") and not os.path.isfile(catalog_path(options["index"])):
        raise UsageError(
            "benchmark recall: expected one of FOLDER, --manifest CSV, --landmarks JSON and -i "
            f"INDEX; received none, and there is no index at {options['index']}."
        )
    refuse("benchmark recall", ITS_OWN, "an index has its own embedder and projection")
    return True


def measured_on_index(options: dict[str, Any]) -> tuple[IndexTruth, Measured]:
    """The protocol, and the index's answers to it."""
    from cbir.cli.output import Bar, note
    from cbir.evaluate import Choice, Measured, answered_by
    from cbir.query import Index

    choice = Choice(options["label"], options["query_where"], options["gallery_where"])
    with Index.open(options["index"]) as index, Bar() as bar:
        found = _truth(index, options["manifest"], choice, bar)
        bar.stage("queries", len(found.features))
        answers = answered_by(index, found, bar.advance)
        for line in index.notes:
            note(f"Note: {line}. `cbir check --repair` mends it.")
    return found, Measured(answers, found.failures)


def _truth(index: Index, manifest: str | None, choice: Choice, bar: Any) -> IndexTruth:
    from cbir.catalog import FeatureCache, default_cache
    from cbir.evaluate import from_index, from_index_and_manifest

    if manifest is None:
        return from_index(index, choice)
    with FeatureCache(default_cache()) as cache:
        return from_index_and_manifest(index, manifest, choice, cache, bar.advance)
