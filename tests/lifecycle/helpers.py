"""What the lifecycle tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cbir.catalog import Catalog
from cbir.lifecycle import SyncOptions, SyncReport, check, sync
from cbir.query import Index
from tests.conftest import GridEmbedder


def run(index: Path, *folders: Path, grid: GridEmbedder, **options: object) -> SyncReport:
    """One `sync` with the tiny embedder."""
    used = SyncOptions(**options)  # type: ignore[arg-type]
    return sync(str(index), [str(f) for f in folders], used, embedder=grid)


def ids(index: Path) -> dict[str, int]:
    """Relative path → id, over all roots."""
    with Catalog(str(index)) as catalog:
        return {row.path: row.id for row in catalog.rows()}


def vectors(index: Path) -> dict[str, bytes]:
    """Absolute path → stored feature, as bytes."""
    with Catalog(str(index)) as catalog:
        row = catalog.embedder()
        assert row is not None
        files = {r.id: r.file for r in catalog.rows()}
        found = {}
        for block, features in catalog.features(row):
            for image, feature in zip(block.tolist(), features, strict=True):
                found[files[image]] = feature.astype(np.float16).tobytes()
        return found


def nearest(index: Path, image: Path, grid: GridEmbedder, k: int = 3) -> list[str]:
    """Names of the nearest images, the queried file left out."""
    with Index(str(index), grid) as opened:
        return [Path(hit.path).name for hit in opened.query(str(image), k=k).hits]


def faults(index: Path) -> list[str]:
    """Kinds of faults, but for those that every index by the tests' own embedders has."""
    known = {"fingerprint unknown", "former embedder unusable"}
    return [f.kind for f in check(str(index)).faults if f.kind not in known]
