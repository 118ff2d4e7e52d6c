"""Speed of the steps from a file to a feature: what is measured, not how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.evaluate.steps import LAPS, measure_steps
from tests.conftest import GridEmbedder


class Counting(GridEmbedder):
    """Notes how many pictures each call embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def features(self, pixels: np.ndarray) -> np.ndarray:
        self.calls.append(len(pixels))
        return super().features(pixels)


def test_every_step_has_all_pictures(photos: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in photos.rglob("*.png"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    one, other = Counting(), Counting()
    steps: list[int] = []
    rows, read = measure_steps({"f32": one, "bf16": other}, [*files, str(bad)], steps.append)
    assert [row.step for row in rows] == [
        "read, decode, resize", "embed, f32", "embed, bf16", "both, f32", "both, bf16"]  # fmt: skip
    assert len(steps) == LAPS + 1 and read == len(files)
    for row in rows:
        assert row.images_per_second > 0 and row.cpu_ms >= 0
        assert np.isnan(row.alone_ms) == (not row.step.startswith("both"))
    whole = max(one.calls)
    assert one.calls.count(1) == 2 * LAPS and one.calls == other.calls
    assert sum(one.calls) - 2 * LAPS == 2 * (LAPS + 1) * whole  # embedding alone, and with reading


def test_no_picture_that_can_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    for files in ([], [str(bad)]):
        with pytest.raises(UsageError, match="expected pictures that can be read"):
            measure_steps({"f32": GridEmbedder()}, files)
