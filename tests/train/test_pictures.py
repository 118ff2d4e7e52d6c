"""Decoded training pictures: in memory or in a file, failures listed, a full disk said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbir.config import EmbedderSpec
from cbir.errors import OperationFailedError, UsageError
from cbir.images import prepare
from cbir.train import pictures
from cbir.train.pictures import read_all, read_pictures

SPEC = EmbedderSpec(backbone="test", weights="random:0", input_size=16)


def test_pictures_are_those_an_embedder_gets_and_failures_are_listed(photos: Path) -> None:
    broken = photos / "a" / "broken.png"
    broken.write_bytes(b"no")
    files = [str(p) for p in sorted(photos.rglob("*.png"))]
    files.append(files[0])  # twice the same
    read = read_pictures(files, SPEC, 1.0)
    assert [Path(f.path).name for f in read.failures] == ["broken.png"]
    assert [files[row] for row in read.rows] == [f for f in files if "broken" not in f]
    for row, pixels in zip(read.rows, read.pixels, strict=True):
        assert np.array_equal(pixels, prepare(files[row], SPEC).pixels)
    with pytest.raises(UsageError, match="cannot be read any more"):
        read_all(files, SPEC, 1.0, lambda _: None)
    assert read_pictures(files[:2], SPEC, 1.5).pixels.shape == (2, 24, 24, 3)


def test_many_pictures_are_kept_in_a_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(p) for p in sorted(photos.rglob("*.png"))]
    plain = read_pictures(files, SPEC, 1.0).pixels
    monkeypatch.setattr(pictures, "IN_MEMORY", 100)
    mapped = read_pictures(files, SPEC, 1.0).pixels
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, plain)


def test_a_full_disk_is_said_before_it_is_needed(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "IN_MEMORY", 100)
    monkeypatch.setattr(pictures.os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(pictures.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OperationFailedError, match="No space left .* TMPDIR"):
        read_pictures([str(p) for p in photos.rglob("*.png")], SPEC, 1.0)
    assert not list(tmp_path.glob("cbir-pictures-*"))
