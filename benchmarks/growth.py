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
from common import features_of, machine, retrieval, save, say
from recall import EMBEDDER, protocols, smoke

from cbir import Embedder
from cbir.config import IndexSpec
from cbir.embed import fit

SHARES = (0.1, 0.25, 0.5, 0.67, 0.8, 1.0)


def main() -> None:
    """Embed, fit on parts, rank, print."""
    parser = argparse.ArgumentParser(description="Cost of a projection fitted too early")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    embedder = Embedder.load(EMBEDDER)
    results: dict[str, object] = {"machine": machine()}
    say(f"{'protocol':12}{'fitted on':>10}{'mAP, rising':>13}{'mAP, falling':>14}")
    with tempfile.TemporaryDirectory() as folder:
        tasks = smoke(folder) if chosen.smoke else protocols(chosen.data)[:2]
        for name, queries, gallery in tasks:
            query, stored = features_of(queries, embedder), features_of(gallery, embedder)
            asked, known = [q.label for q in queries], [g.label for g in gallery]
            order = np.argsort(known, kind="stable")
            rows = {}
            for share in SHARES:
                n = max(2, int(len(order) * share))
                found = []
                for way in (order, order[::-1]):
                    made = fit(stored[way[:n]], IndexSpec().dims)
                    scores = retrieval(made.apply(query), asked, made.apply(stored), known)
                    found.append(round(scores.mean_ap, 4))
                rows[str(share)] = found
                say(f"{name:12}{share:10.0%}{found[0]:13.3f}{found[1]:14.3f}")
            results[name] = rows
    if not chosen.smoke:
        say(f"written: {save('growth', results)}")


if __name__ == "__main__":
    main()
