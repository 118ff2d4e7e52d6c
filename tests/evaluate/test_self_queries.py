"""Self-made queries: an exact copy always finds its source; a destroyed picture does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.evaluate.self_queries import self_queries
from cbir.images.edits import EDITS
from cbir.query import Index
from tests.conftest import GridEmbedder
from tests.lifecycle.helpers import run


def test_a_profile_from_harmless_to_harmful(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    run(tmp_path / "index", photos, grid=grid)
    edits = {
        "gone": lambda pixels: np.zeros_like(pixels),
        "same": lambda pixels: pixels,
        "flip": EDITS["flip"],
    }
    steps: list[int] = []
    with Index(str(tmp_path / "index"), grid) as index:
        found = self_queries(index, edits, advance=steps.append)
        few = self_queries(index, edits, sample=5, seed=3)
        same = self_queries(index, edits, sample=5, seed=3)
        every = self_queries(index, sample=2)
    by_name = {a.name: a for a in found.attacks}
    assert found.images == 12 and sum(steps) == 12 and not found.failures
    assert found.attacks[0].name == "same" and found.attacks[0].recall == {1: 1, 5: 1, 10: 1}
    assert by_name["same"].source_score > 0.999 and by_name["same"].interval == (1, 1)
    assert by_name["gone"].recall[1] <= 0.25
    assert found.recall_at_1 == pytest.approx(
        sum(a.recall[1] for a in found.attacks) / len(found.attacks)
    )
    assert few == same and all(a.queries == 5 for a in few.attacks)
    assert {a.name for a in every.attacks} == set(EDITS)


def test_copies_are_as_right_as_the_source(
    photos: Path, tmp_path: Path, grid: GridEmbedder
) -> None:
    for i in range(12):
        (photos / f"copy{i}.png").write_bytes((photos / "a" / "00.png").read_bytes())
    run(tmp_path / "index", photos, grid=grid)
    with Index(str(tmp_path / "index"), grid) as index:
        found = self_queries(index, {"same": lambda pixels: pixels})
    assert found.attacks[0].recall[1] == 1


def test_files_that_are_gone_are_listed(photos: Path, tmp_path: Path, grid: GridEmbedder) -> None:
    run(tmp_path / "index", photos, grid=grid)
    os.remove(photos / "a" / "00.png")
    with Index(str(tmp_path / "index"), grid) as index:
        found = self_queries(index, {"same": lambda pixels: pixels})
        assert [Path(f.path).name for f in found.failures] == ["00.png"] and found.images == 11
        for file in photos.rglob("*.png"):
            file.unlink()
        with pytest.raises(UsageError, match="no picture of the index can be read"):
            self_queries(index, {"same": lambda pixels: pixels})
