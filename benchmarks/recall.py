"""Retrieval figures on labelled photos: raw features against the fitted projection.

    python benchmarks/recall.py --data FOLDER      # with clothing/ and grocery/ in it
    python benchmarks/recall.py --smoke            # a minute: the sample gallery

Protocols: clothing, validation → train; grocery, val → train; of grocery the unseen classes alone.
`raw` is the pooled feature at unit length; `projected` is what `cbir index` makes of the gallery.
Prints a table, and writes benchmarks/results/recall.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Item, Scores, features_of, machine, read_manifest, retrieval, save, say

from cbir import Embedder
from cbir.config import IndexSpec
from cbir.embed import Projection, fit_gallery
from cbir.images import content_hash, make_sample
from cbir.types import Vectors

EMBEDDER = "efficientnet-lite0"
EXPECTED = {"clothing": (0.771, 0.454), "grocery": (0.53, 0.356)}
"""recall@1 and mAP of raw features by two independent ports of the network: a swapped channel order
or a wrong padding, which a right class may survive, would show here."""
DIMS = (64, 128, 192, 256, 384)


def protocols(data: Path) -> list[tuple[str, list[Item], list[Item]]]:
    """Name, queries, gallery. Only train and validation splits: `test` is for a final figure."""
    clothing = read_manifest(data / "clothing" / "manifest.csv")
    grocery = read_manifest(data / "grocery" / "manifest.csv")
    unseen = [item for item in grocery if item.class_split == "unseen"]
    return [
        ("clothing", _split(clothing, "validation"), _split(clothing, "train")),
        ("grocery", _split(grocery, "val"), _split(grocery, "train")),
        ("grocery unseen", _split(unseen, "val"), _split(unseen, "train")),
    ]


def smoke(folder: str) -> list[tuple[str, list[Item], list[Item]]]:
    """The sample gallery: the originals against all other views."""
    items = read_manifest(Path(make_sample(folder).manifest))
    queries = [item for item in items if "original" in item.path]
    return [("sample", queries, [item for item in items if "original" not in item.path])]


def _split(items: list[Item], split: str) -> list[Item]:
    return [item for item in items if item.split == split]


def fitted(gallery: list[Item], features: Vectors, dims: int) -> Projection:
    """The projection that indexing this gallery gives."""
    return fit_gallery([content_hash(item.path) for item in gallery], features, dims)


def main() -> None:
    """Embed, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--all-dims", action="store_true", help="a row for each length")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    with tempfile.TemporaryDirectory() as folder:
        tasks = smoke(folder) if chosen.smoke else protocols(chosen.data)
        results = measure(tasks, DIMS if chosen.all_dims else (IndexSpec().dims,))
    if not chosen.smoke:
        say(f"written: {save('recall', results)}")


def measure(
    tasks: list[tuple[str, list[Item], list[Item]]], dims: tuple[int, ...]
) -> dict[str, object]:
    """Figures of all protocols, printed as they come."""
    embedder = Embedder.load(EMBEDDER)
    say(f"{EMBEDDER}, {embedder.spec.input_size} px, {embedder.spec.resize}")
    say(f"{'protocol':16}{'embedding':18}{'recall@1':>9}{'mAP':>7}{'MAP@R':>7}{'queries':>9}")
    found: dict[str, object] = {}
    for name, queries, gallery in tasks:
        start = time.perf_counter()
        query, stored = features_of(queries, embedder), features_of(gallery, embedder)
        stored = stored.astype(np.float16).astype(np.float32)  # as the catalog keeps them
        seconds = time.perf_counter() - start
        rows = {}
        raw = Scores(0, 0.0, 0.0, 0.0)
        made = {"raw": Projection.none(embedder.feature_dims)}
        made |= {f"projected {d}": fitted(gallery, stored, d) for d in dims}
        for label, projection in made.items():
            scores = retrieval(
                projection.apply(query), [q.label for q in queries],
                projection.apply(stored), [g.label for g in gallery],
            )  # fmt: skip
            rows[label] = scores.row()
            raw = scores if label == "raw" else raw
            say(f"{name:16}{label:18}{scores.recall_at_1:9.3f}{scores.mean_ap:7.3f}"
                f"{scores.map_at_r:7.3f}{scores.queries:9d}")  # fmt: skip
        near = EXPECTED.get(name, (raw.recall_at_1, raw.mean_ap))
        if max(abs(raw.recall_at_1 - near[0]), abs(raw.mean_ap - near[1])) > 0.01:
            raise SystemExit(f"Expected about {near} of raw features: the port is not right.")
        found[name] = {
            "queries": len(queries), "gallery": len(gallery),
            "images_per_second": round((len(queries) + len(gallery)) / seconds, 1), "rows": rows,
        }  # fmt: skip
    return {
        "machine": machine(),
        "embedder": embedder.spec.to_dict(),
        "fingerprint": embedder.fingerprint,
        "protocols": found,
    }


if __name__ == "__main__":
    main()
