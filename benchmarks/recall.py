"""The results table: classical descriptors and CNNs on the same protocols.

    python benchmarks/recall.py --data FOLDER      # with clothing/ and grocery/ in it
    python benchmarks/recall.py --smoke            # two minutes: the sample gallery

Protocols: clothing, validation → train; grocery, val → train; of grocery the unseen classes alone.
`raw` is the feature at unit length, `pca d` is what `cbir index` makes of the gallery. Prints a
table in Markdown, and writes benchmarks/results/recall.json. Features are kept in $CBIR_CACHE.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from common import machine, protocols, save, say, smoke

from cbir import Embedder
from cbir.catalog import FeatureCache, default_cache
from cbir.cli.benchmark.common import pair, plain
from cbir.config import DEFAULT_EMBEDDER, IndexSpec
from cbir.evaluate import (
    CLASSICAL,
    Summary,
    Truth,
    answered,
    chance,
    summarise,
    truth_features,
)
from cbir.present.numbers import between, number

SHOWN = ("recall@1", "recall@5", "recall@10", "mAP", "MAP@R")
WITH_INTERVAL = ("recall@1", "mAP", "MAP@R")
RAW, DEFAULT = IndexSpec(projection="none"), IndexSpec()
SYSTEMS: Mapping[str, tuple[IndexSpec, ...]] = {
    **{name: (RAW,) for name in CLASSICAL},
    DEFAULT_EMBEDDER: (RAW, DEFAULT),
    "efficientnet-lite2": (DEFAULT,),
}
KNOWN = {"clothing": (0.771, 0.454), "grocery": (0.53, 0.353), "grocery unseen": (0.610, 0.435)}
"""recall@1 and mAP of the default network's raw features by two independent ports of it: a swapped
channel order or a wrong padding, which a right class may survive, would show here."""


def measured(tasks: Mapping[str, Truth], cache: FeatureCache) -> dict[str, dict[str, Summary]]:
    """Protocol → system → figures. One embedder at a time is in memory."""
    found: dict[str, dict[str, Summary]] = {name: {} for name in tasks}
    for name, specs in SYSTEMS.items():
        embedder = CLASSICAL[name]() if name in CLASSICAL else Embedder.load(name)
        for protocol, truth in tasks.items():
            features = truth_features(truth, embedder, cache)
            if features.failures:
                raise SystemExit(f"Expected to read every picture; {features.failures[0]}")
            for spec, projection in zip(specs, features.projections(specs), strict=True):
                answers = answered(features, spec, projection)
                found[protocol][answers.system] = summarise(answers)
    return found


def table(truth: Truth, rows: Mapping[str, Summary]) -> str:
    """Markdown: best mAP last, so that chance and the classical ones come first."""
    lines = [f"| | {' | '.join(SHOWN)} |", "|---|" + "---|" * len(SHOWN)]
    by_chance = chance(truth)
    lines.append(_line("chance", [number(by_chance[metric]) for metric in SHOWN]))
    for name, summary in sorted(rows.items(), key=lambda row: row[1].metrics["mAP"]):
        cells = [number(summary.metrics[metric]) for metric in SHOWN]
        for i, metric in enumerate(SHOWN):
            if metric in WITH_INTERVAL:
                cells[i] += f" ({between(summary.intervals[metric])})"
        lines.append(_line(name, cells))
    return "\n".join(lines)


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def faults(protocol: str, truth: Truth, rows: Mapping[str, Summary]) -> list[str]:
    """What is not as it must be."""
    found = []
    raw = rows[f"{DEFAULT_EMBEDDER}, raw"].metrics
    known = KNOWN.get(protocol, (raw["recall@1"], raw["mAP"]))
    if max(abs(raw["recall@1"] - known[0]), abs(raw["mAP"] - known[1])) > 0.01:
        found.append(
            f"raw features: expected about {known}; received {raw['recall@1']:.3f}, "
            f"{raw['mAP']:.3f}: the port of the network is not right"
        )
    quality = {name: summary.metrics["mAP"] for name, summary in rows.items()}
    old = {name: value for name, value in quality.items() if name.startswith("classical/")}
    if min(old.values()) <= chance(truth)["mAP"]:
        found.append(f"expected every classical descriptor above chance; received {old}")
    if min(value for name, value in quality.items() if name not in old) <= max(old.values()):
        found.append(f"expected every CNN above every classical descriptor; received {quality}")
    return found


def as_json(truth: Truth, rows: Mapping[str, Summary]) -> dict[str, object]:
    """One protocol, as the results file holds it."""
    some = next(iter(rows.values()))
    return {
        "protocol": truth.name,
        "queries": some.queries,
        "without_relevant": some.without_relevant,
        "gallery": some.gallery,
        "chance": plain(chance(truth)),
        "systems": {
            name: {
                "metrics": plain(summary.metrics),
                "intervals": {metric: pair(one) for metric, one in summary.intervals.items()},
            }
            for name, summary in rows.items()
        },
    }


def main() -> None:
    """Embed, rank, print, check."""
    parser = argparse.ArgumentParser(description="The results table")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    with tempfile.TemporaryDirectory() as folder:
        tasks = smoke(folder) if chosen.smoke else protocols(chosen.data)
        kept = os.path.join(folder, "cache.sqlite") if chosen.smoke else default_cache()
        with FeatureCache(kept) as cache:
            found = measured(tasks, cache)
    wrong = []
    for protocol, truth in tasks.items():
        rows = found[protocol]
        some = next(iter(rows.values()))
        say(f"{protocol}: {some.queries} queries, {some.gallery} images in the gallery\n")
        say(table(truth, rows) + "\n")
        wrong += [f"{protocol}: {fault}" for fault in faults(protocol, truth, rows)]
    if wrong:
        raise SystemExit("Not as it must be: " + "; ".join(wrong))
    if not chosen.smoke:
        figures = {protocol: as_json(tasks[protocol], rows) for protocol, rows in found.items()}
        say(f"written: {save('recall', {'machine': machine(), 'protocols': figures})}")


if __name__ == "__main__":
    main()
