"""`make demo`: sample gallery → index → queries → page; then how many views come first.

python benchmarks/demo.py FOLDER [BEGAN]     # BEGAN: when all of it began, seconds since 1970
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import say

from cbir import Index
from cbir.config import QuerySpec
from cbir.evaluate import ColourHistogram, embed_files, precision_at_k
from cbir.types import Vectors

LIMIT_GB = 3.0
QUERIES = ("chelsea", "motorcycle_left", "rocket")


def cbir(*arguments: str) -> None:
    """Run a command as a user would, after showing it."""
    shown = " ".join(f"'{a}'" if " " in a else a for a in arguments)
    say(f"\n$ cbir {shown}")
    subprocess.run([sys.executable, "-m", "cbir", *arguments], check=True)


def first_places(vectors: Vectors, labels: list[str]) -> float:
    """Mean P@k, leave one out, k = number of the query's other views."""
    known = np.array(labels)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    found = []
    for row, label in zip(scores, labels, strict=True):
        k = labels.count(label) - 1
        found.append(precision_at_k(known[np.argsort(-row, kind="stable")] == label, k))
    return float(np.mean(found))


def by_index(index: Path, files: list[str], labels: list[str]) -> float:
    """The same, asked of the index itself."""
    found = []
    with Index.open(index) as opened:
        k = labels.count(labels[0]) - 1
        rankings = opened.query_many(files, QuerySpec(k=k))
    for ranking, label in zip(rankings, labels, strict=True):
        right = np.array([Path(hit.path).parent.name == label for hit in ranking.hits])
        found.append(precision_at_k(right, k))
    return float(np.mean(found))


def since_began() -> str:
    """How long it is since the whole began, where the caller said when."""
    if len(sys.argv) < 3:
        return ""
    return f", {time.time() - int(sys.argv[2]):.0f} s after `make demo` began"


def installed_gb() -> float:
    """Size of this environment: cbir and all that it needs, GB."""
    files = (Path(parent) / name for parent, _, names in os.walk(sys.prefix) for name in names)
    return sum(file.lstat().st_size for file in files) / 1e9


def main() -> None:
    """Everything, in a folder that is made anew."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    photos, index, page = folder / "photos", folder / "index", folder / "result.html"
    start = time.perf_counter()
    cbir("sample", str(photos))
    cbir("index", str(photos), "-i", str(index))
    cbir("query", str(photos / "chelsea" / "original.jpg"), "-i", str(index), "-k", "8")
    say(f"\nFirst result after {time.perf_counter() - start:.1f} s{since_began()}.")
    asked = [str(photos / name / "original.jpg") for name in QUERIES]
    cbir("query", *asked, "-i", str(index), "-k", "9", "--html", str(page))
    files = sorted(str(f) for f in photos.rglob("*") if f.suffix in {".jpg", ".png", ".webp"})
    labels = [Path(file).parent.name for file in files]
    floor = embed_files([os.path.abspath(file) for file in files], ColourHistogram())
    if floor.failed:
        raise SystemExit(f"Expected to read every picture; {floor.failed[0][1]}")
    cnn, plain = by_index(index, files, labels), first_places(floor.features, labels)
    k = labels.count(labels[0]) - 1
    say(f"\nP@{k}: a photo's {k} other views among the first {k} hits, {len(files)} queries")
    say(f"  index (CNN)        {cnn:.3f}")
    say(f"  colour histogram   {plain:.3f}")
    size = installed_gb()
    say(f"\nInstalled: {size:.1f} GB, cbir and all that it needs")
    say(f"Page with pictures: {page.resolve()}")
    if size > LIMIT_GB and sys.prefix != sys.base_prefix:
        raise SystemExit(f"Expected an installation below {LIMIT_GB} GB: which dependency grew?")
    if cnn < 0.98 or plain >= 0.85:
        raise SystemExit("Expected at least 0.98 by the index, and below 0.85 by colour.")


if __name__ == "__main__":
    main()
