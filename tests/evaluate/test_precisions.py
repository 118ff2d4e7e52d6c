"""Comparing precisions: against plain loops, and the choice on made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbir.config import Precision
from cbir.errors import UsageError
from cbir.evaluate import precisions
from cbir.evaluate.precisions import (
    Material,
    PrecisionRow,
    choose_precision,
    material,
    measure_precisions,
)
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder, picture


class Recast(GridEmbedder):
    """bf16 adds noise to a feature; int8 cannot be had."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise

    def features(self, pixels: Pixels) -> Vectors:
        rows = super().features(pixels)
        rng = np.random.default_rng(1)
        return (rows + self.noise * rng.standard_normal(rows.shape)).astype(np.float32)

    def with_precision(self, precision: Precision, pixels: Pixels | None = None) -> Recast:
        if precision == "int8":
            raise UsageError("no int8 here")
        return Recast(0.15)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    made = []
    for i in range(40):
        made.append(str(tmp_path / f"{i:02d}.png"))
        picture(i).save(made[-1])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return [*made, str(tmp_path / "broken.png"), str(tmp_path / "gone.png")]


def test_the_material_is_a_sample_with_edited_copies(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = GridEmbedder().spec
    whole = material(files, spec)
    assert whole.pixels.shape == (40, 32, 32, 3) and whole.edited.shape == (120, 32, 32, 3)
    assert whole.sources.tolist() == [i for i in range(40) for _ in range(3)]
    monkeypatch.setattr(precisions, "SAMPLE", 9)
    monkeypatch.setattr(precisions, "SOURCES", 4)
    part = material(files, spec)
    assert len(part.pixels) == 9 and part.sources.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    np.testing.assert_array_equal(part.pixels, whole.pixels[:9])
    none = material([], spec)
    assert none.pixels.shape == none.edited.shape == (0, 32, 32, 3) and len(none.sources) == 0


def test_rows_are_what_a_plain_loop_counts(files: list[str]) -> None:
    base = Recast()
    on = material(files, base.spec)
    rows, made = measure_precisions(base, ("f32", "bf16", "int8"), on)
    assert [row.precision for row in rows] == ["f32", "bf16", "int8"]
    assert set(made) == {"f32", "bf16"} and rows[2].problem == "no int8 here"
    assert np.isnan(rows[2].recall) and not rows[2].holds()

    def unit(rows: Vectors) -> Vectors:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    truth, other = unit(base.features(on.pixels)), unit(made["bf16"].features(on.pixels))
    shares, cosine = [], 1.0
    for i in range(40):
        lists = []
        for features in (truth, other):
            order = sorted(
                (j for j in range(40) if j != i), key=lambda j: -features[i] @ features[j]
            )
            lists.append(set(order[:10]))
        shares.append(len(lists[0] & lists[1]) / 10)
        cosine = min(cosine, float(truth[i] @ other[i]))
    assert rows[1].overlap == pytest.approx(np.mean(shares), abs=1e-6)
    assert rows[1].cosine == pytest.approx(cosine, abs=1e-5)
    right = [
        [int(np.argmax(gallery @ q)) == s for q, s in zip(unit(e.features(on.edited)), on.sources,
                                                          strict=True)]
        for gallery, e in ((truth, base), (other, made["bf16"]))
    ]  # fmt: skip
    assert [row.recall for row in rows[:2]] == pytest.approx([np.mean(r) for r in right])
    assert rows[1].difference[0] == pytest.approx(np.mean(right[1]) - np.mean(right[0]))
    assert rows[0].overlap == 1 and rows[0].difference == (0, 0, 0)
    assert all(row.images_per_second > 0 for row in rows[:2])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_few_pictures(n: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    on = Material(pixels, pixels, np.arange(n))
    rows, _ = measure_precisions(Recast(), ("f32",), on)
    assert rows[0].overlap == 1 and rows[0].recall == 1


def row(
    precision: Precision, speed: float, fell: float = 0.0, overlap: float = 1.0
) -> PrecisionRow:
    return PrecisionRow(precision, speed, 0.9, (fell, fell - 0.01, fell + 0.01), overlap, 0.99)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([row("f32", 100)], "f32"),
        ([row("f32", 100), row("bf16", 180), row("int8", 240)], "int8"),
        ([row("f32", 100), row("bf16", 180), row("int8", 240, overlap=0.85)], "bf16"),
        ([row("f32", 100), row("bf16", 180), row("int8", 240, fell=-0.02)], "bf16"),
        ([row("f32", 100), row("bf16", 60)], "f32"),
        ([row("f32", 100), row("bf16", 109)], "f32"),
        ([row("f32", 100), row("bf16", 150, fell=-0.01)], "bf16"),
        ([row("f32", 100), PrecisionRow("int8", np.nan, np.nan, (np.nan,) * 3, np.nan, np.nan,
                                        "no nncf")], "f32"),
    ],
)  # fmt: skip
def test_the_fastest_that_holds_is_chosen(rows: list[PrecisionRow], chosen: str) -> None:
    assert choose_precision(rows) == chosen
