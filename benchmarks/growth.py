"""What it costs to fit the projection on the first folders only.

    python benchmarks/growth.py --data FOLDER | --smoke

Classes come one after another, as folders do: the projection is fitted on the first 10 to 100 % of
the gallery, in rising and in falling order of the class names, and mAP of the whole is printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import machine, protocols, save, say, smoke

from cbir import Embedder
from cbir.config import DEFAULT_EMBEDDER, IndexSpec
from cbir.embed import Projection, fit
from cbir.evaluate import TruthFeatures, rank, summarise, truth_features

SHARES = (0.1, 0.25, 0.5, 0.67, 0.8, 1.0)


def mean_ap(found: TruthFeatures, projection: Projection) -> float:
    """mAP of a protocol by one projection."""
    queries, gallery = projection.apply(found.queries), projection.apply(found.gallery)
    return summarise(rank(found.truth, queries, gallery, "")).metrics["mAP"]


def main() -> None:
    """Embed, fit on parts, rank, print."""
    parser = argparse.ArgumentParser(description="Cost of a projection fitted too early")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    embedder = Embedder.load(DEFAULT_EMBEDDER)
    results: dict[str, object] = {"machine": machine()}
    say(f"{'protocol':12}{'fitted on':>10}{'mAP, rising':>13}{'mAP, falling':>14}")
    with tempfile.TemporaryDirectory() as folder:
        tasks = smoke(folder) if chosen.smoke else protocols(chosen.data)
        for name, truth in tasks.items():
            if name == "grocery unseen":
                continue
            found = truth_features(truth, embedder)
            known = [found.truth.labels[i] for i in found.truth.gallery]
            order = np.argsort(known, kind="stable")
            rows = {}
            for share in SHARES:
                n = max(2, int(len(order) * share))
                figures = [
                    round(mean_ap(found, fit(found.gallery[way[:n]], IndexSpec().dims)), 4)
                    for way in (order, order[::-1])
                ]
                rows[str(share)] = figures
                say(f"{name:12}{share:10.0%}{figures[0]:13.3f}{figures[1]:14.3f}")
            results[name] = rows
    if not chosen.smoke:
        say(f"written: {save('growth', results)}")


if __name__ == "__main__":
    main()
