"""Exports: made once, checked, kept by fingerprint, never trusted when they changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cbir.embed import Embedder
from cbir.embed.runtimes import exports
from cbir.embed.runtimes.exports import (
    ExportError,
    checked,
    export_folder,
    find_export,
    make_export,
)
from cbir.types import Pixels, Vectors


def made(tiny: Embedder) -> exports.Export:
    return make_export(tiny.spec, tiny.model, tiny.fingerprint)


def test_one_that_is_made_is_found(tiny: Embedder, cache: Path) -> None:
    assert find_export(tiny.fingerprint) is None
    export = made(tiny)
    assert export.spec == tiny.spec and export.feature_dims == 96 and export.cosine > 0.9999
    assert find_export(tiny.fingerprint) == export and find_export("other") is None
    assert [p.name for p in cache.iterdir()] == [os.path.basename(export_folder(tiny.fingerprint))]


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "export.json"])
def test_a_changed_file_counts_as_none_and_is_made_again(
    name: str, tiny: Embedder, cache: Path
) -> None:
    export = made(tiny)
    file = Path(export.path).parent / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert find_export(tiny.fingerprint) is None
    assert made(tiny) == export == find_export(tiny.fingerprint)
    file.unlink()
    assert find_export(tiny.fingerprint) is None


def wrong_run(change: Callable[[Vectors], Vectors]) -> Callable[[Pixels], Vectors]:
    def run(pixels: Pixels) -> Vectors:
        return change(pixels.reshape(len(pixels), -1)[:, ::50].astype(np.float32) + 1)

    return run


def half_turned(rows: Vectors) -> Vectors:
    turned = rows.copy()
    turned[:, 0] += 0.02 * np.linalg.norm(rows, axis=1)
    return turned


@pytest.mark.parametrize(
    "change",
    [half_turned, lambda rows: rows * 1.02, lambda rows: rows[:, :-1], lambda rows: rows * np.nan,
     lambda rows: rows * 0],
    ids=["direction", "length", "dims", "nan", "zero"],
)  # fmt: skip
def test_what_differs_from_keras_is_refused(
    change: Callable[[Vectors], Vectors], tiny: Embedder
) -> None:
    truth = wrong_run(lambda rows: rows)
    assert checked(tiny.spec, truth, truth) == pytest.approx(1)
    with pytest.raises(ExportError, match="expected"):
        checked(tiny.spec, truth, wrong_run(change))


def test_a_refused_one_is_not_kept_nor_tried_again(
    tiny: Embedder, compiling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> float:
        raise ExportError("it differs")

    monkeypatch.setattr(exports, "checked", refuse)
    embedder = Embedder.from_spec(tiny.spec)
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(embedder.features(pixels), tiny.features(pixels))
    assert embedder.run_by.name.startswith("keras")
    assert embedder.notes == ["mobilenetv3small is run by Keras, since it cannot be compiled: it "
                              "differs."]  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setenv("CBIR_CACHE", str(compiling.parent / "features.sqlite"))
    assert find_export(tiny.fingerprint) is None
    with pytest.raises(ExportError, match="it differs"):
        made(tiny)


def test_a_cache_that_cannot_be_written_leaves_the_work_to_keras(
    tiny: Embedder, compiling: Path
) -> None:
    compiling.parent.mkdir()
    compiling.write_text("a file where the folder should be")
    embedder = Embedder.from_spec(tiny.spec)
    assert embedder.run_by.name.startswith("keras") and len(embedder.notes) == 1


def test_the_ones_that_were_not_used_for_longest_go(
    tiny: Embedder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a" * 32, "b" * 32, "c" * 32]
    size = 0
    for age, name in enumerate(names):
        export = make_export(tiny.spec, tiny.model, name)
        folder = Path(export.path).parent
        size = sum(f.stat().st_size for f in folder.iterdir())
        os.utime(folder / "export.json", (1_000_000 + age, 1_000_000 + age))
    assert find_export(names[0]) is not None  # so it was used just now
    monkeypatch.setattr(exports, "ROOM", int(2.5 * size))
    made(tiny)
    left = {n for n in [*names, tiny.fingerprint] if find_export(n) is not None}
    assert left == {names[0], tiny.fingerprint}
