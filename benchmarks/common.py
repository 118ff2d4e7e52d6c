"""What the benchmarks share: features of labelled images, protocols, machine facts."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cbir.config import FeatureExtractor
from cbir.evaluate import average_precision, map_at_r, recall_at_k
from cbir.images import LoadOptions, load
from cbir.types import ImageRef, Pixels, Vectors


@dataclass(frozen=True)
class Item:
    """A labelled image: absolute path, label, split."""

    path: str
    label: str
    split: str
    class_split: str


def read_manifest(file: Path) -> list[Item]:
    """All rows of a manifest."""
    with open(file, encoding="utf-8", newline="") as opened:
        return [
            Item(
                str(file.resolve().parent / row["path"]),
                row["label"],
                row.get("split", ""),
                row.get("class_split", ""),
            )
            for row in csv.DictReader(opened)
        ]


def pixels_of(items: Sequence[Item], embedder: FeatureExtractor) -> Iterable[Pixels]:
    """Batches uint8 (n, s, s, 3) in the order of the items; a file that fails is an error."""
    refs = [ImageRef("/", item.path.lstrip("/"), 0, 0) for item in items]
    for batch in load(refs, LoadOptions(spec=embedder.spec)):
        if batch.failures:
            raise SystemExit(f"cannot use {batch.failures[0][1]}")
        yield np.stack([image.pixels for image in batch.images if image.pixels is not None])


def features_of(items: Sequence[Item], embedder: FeatureExtractor) -> Vectors:
    """Raw features, float32 (n, f)."""
    return np.concatenate([embedder.features(pixels) for pixels in pixels_of(items, embedder)])


@dataclass(frozen=True)
class Scores:
    """Means over the queries that have a relevant image in the gallery."""

    queries: int
    recall_at_1: float
    mean_ap: float
    map_at_r: float

    def row(self) -> dict[str, float]:
        """As the results files hold it."""
        return {
            "queries": self.queries,
            "recall@1": round(self.recall_at_1, 4),
            "mAP": round(self.mean_ap, 4),
            "MAP@R": round(self.map_at_r, 4),
        }


def retrieval(
    queries: Vectors, query_labels: Sequence[str], gallery: Vectors, gallery_labels: Sequence[str]
) -> Scores:
    """Rank the whole gallery by cosine for every query; unit rows."""
    labels: NDArray[np.str_] = np.array(gallery_labels)
    rows = []
    for vector, label in zip(queries, query_labels, strict=True):
        order = np.argsort(-(gallery @ vector), kind="stable")
        relevant = labels[order] == label
        total = int(relevant.sum())
        if total:
            rows.append(
                (recall_at_k(relevant, 1), average_precision(relevant, total),
                 map_at_r(relevant, total))
            )  # fmt: skip
    means = np.mean(rows, axis=0)
    return Scores(len(rows), float(means[0]), float(means[1]), float(means[2]))


def machine() -> dict[str, object]:
    """Where figures were taken: processor, cores, versions."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    packages = ("cbir", "numpy", "pillow", "keras", "faiss-cpu")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except Exception:
        return "not installed"


def say(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def save(name: str, results: object) -> Path:
    """Write results beside the benchmarks, as JSON."""
    file = Path(__file__).parent / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return file


def peak_rss_mb() -> float:
    """Most memory this process has held, MB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
