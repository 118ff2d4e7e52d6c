"""Galleries and embedders for tests of `adopt`: classes that one embedder tells apart better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cbir import present
from cbir.catalog import Catalog
from cbir.config import QuerySpec
from cbir.lifecycle.adopt import AdoptOptions, AdoptReport, adopt, roll_back
from cbir.query import Index
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder, picture


class CellEmbedder(GridEmbedder):
    """Mean colours of a `cells` x `cells` grid: one cell says little of a picture."""

    def __init__(self, cells: int, size: int = 32) -> None:
        super().__init__(size, salt=f"cells {cells}")
        self.cells = cells
        self.feature_dims = 3 * cells * cells

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, 3 cells²)."""
        n, c = len(pixels), self.cells
        self.seen += n
        side = self.spec.input_size // c
        means = pixels.reshape(n, c, side, c, side, 3).astype(np.float32).mean(axis=(2, 4))
        return np.ascontiguousarray(means.reshape(n, -1) / 255 + 0.01, np.float32)


def classes(folder: Path, count: int = 6, each: int = 8) -> Path:
    """A folder for each class; pictures of one are mostly alike."""
    for label in range(count):
        (folder / f"class{label}").mkdir(parents=True)
        base = np.asarray(picture(1000 + label), np.float32)
        for i in range(each):
            other = np.asarray(picture(100 * label + i), np.float32)
            mixed = Image.fromarray(np.round(0.45 * base + 0.55 * other).astype(np.uint8))
            mixed.save(folder / f"class{label}" / f"{i}.png")
    return folder


def moved(index: Path, new: GridEmbedder, *known: GridEmbedder, **options: object) -> AdoptReport:
    """One `adopt`, with the embedders that the tests know; calibrated only where asked."""
    options.setdefault("calibrate", False)
    return adopt(str(index), new, AdoptOptions(**options), known=known)  # type: ignore[arg-type]


def back(index: Path, *known: GridEmbedder, force: bool = False) -> AdoptReport:
    """One `roll_back`; the tests' own embedders are in no table, so they are given."""
    own = known or tuple(CellEmbedder(cells) for cells in (1, 2, 4, 8))
    return roll_back(str(index), AdoptOptions(force=force), known=own)


def answers(index: Path, folder: Path, *known: GridEmbedder) -> str:
    """What `cbir query --json` prints for all pictures of a folder, but for the time it took."""
    files = sorted(str(file) for file in folder.rglob("*.png"))
    with Index(str(index), *known) as opened:
        rankings = opened.query_many(files, QuerySpec(k=7))
    found = json.loads(present.to_json(rankings))
    return json.dumps([{k: v for k, v in one.items() if k != "took_ms"} for one in found])


def live(index: Path) -> tuple[str, int]:
    """Fingerprint and generation that are live."""
    with Catalog(str(index)) as catalog:
        row, generation = catalog.embedder(), catalog.generation()
        assert row is not None and generation is not None and generation.embedder == row.id
        return row.fingerprint, generation.id
