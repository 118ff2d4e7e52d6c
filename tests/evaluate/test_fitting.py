"""Fitting on a gallery: by contents, once, never on queries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from cbir.catalog import FeatureCache
from cbir.config import EmbedderSpec, IndexSpec
from cbir.evaluate import fitted, fitting, from_labels, measure
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder


class MeanEmbedder:
    """Learns the mean picture: small, real, and says how often it learnt from how many."""

    def __init__(self, mean: np.ndarray | None = None, log: list[int] | None = None) -> None:
        self.mean = mean
        self.log: list[int] = [] if log is None else log
        self.spec = EmbedderSpec("test-mean", "none", input_size=16)
        self.recipe = "test-mean 1"
        self.feature_dims = 16 * 16 * 3

    @property
    def fitted(self) -> bool:
        return self.mean is not None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.dump()).hexdigest()

    def fit(self, pixels: Pixels, seed: int = 0) -> Self:
        self.log.append(len(pixels))
        mean = pixels.astype(np.float32).mean(0) if len(pixels) else np.zeros((16, 16, 3))
        return type(self)(np.asarray(mean, np.float32), self.log)

    def dump(self) -> bytes:
        assert self.mean is not None
        return self.mean.astype("<f4").tobytes()

    def restore(self, data: bytes) -> Self:
        if len(data) != 4 * self.feature_dims:
            raise ValueError("another length")
        return type(self)(np.frombuffer(data, "<f4").reshape(16, 16, 3), self.log)

    def features(self, pixels: Pixels) -> Vectors:
        assert self.mean is not None
        return (pixels - self.mean).reshape(len(pixels), -1).astype(np.float32)


@pytest.fixture
def files(draw: Callable[..., Path]) -> list[str]:
    return [str(draw(f"{i}.png", i)) for i in range(8)]


def test_what_has_nothing_to_learn_stays_itself(grid: GridEmbedder) -> None:
    assert fitted(grid, ["none.png"]) is grid
    done = MeanEmbedder(np.zeros((16, 16, 3), np.float32))
    assert fitted(done, ["none.png"]) is done


def test_order_names_and_copies_do_not_matter(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fitted(MeanEmbedder(), files)
    moved = []
    for i, file in enumerate(reversed(files)):
        moved.append(str(tmp_path / f"other{i}.png"))
        Path(moved[-1]).write_bytes(Path(file).read_bytes())
    plain = MeanEmbedder()
    assert fitted(plain, [*moved, files[0]]).fingerprint == first.fingerprint
    assert plain.log == [8]
    monkeypatch.setattr(fitting, "SAMPLE", 3)
    few = MeanEmbedder()
    one, two = fitted(few, files), fitted(few, moved)
    assert few.log == [3, 3] and one.fingerprint == two.fingerprint != first.fingerprint
    assert fitted(few, files, seed=1).fingerprint != one.fingerprint


def test_the_cache_keeps_what_was_learnt(files: list[str], tmp_path: Path) -> None:
    plain = MeanEmbedder()
    with FeatureCache(str(tmp_path / "cache.sqlite")) as cache:
        first = fitted(plain, files, cache)
        again = fitted(plain, files, cache)
        assert plain.log == [8] and again.fingerprint == first.fingerprint
        fitted(plain, files[:7], cache)
        fitted(plain, files, cache, seed=1)
        assert plain.log == [8, 7, 8]
        cache.db.execute("UPDATE fits SET data = x'00'")  # damaged: learnt again
        assert fitted(plain, files, cache).fingerprint == first.fingerprint
        assert plain.log == [8, 7, 8, 8]


def test_files_that_cannot_be_used(files: list[str]) -> None:
    Path(files[0]).write_bytes(b"not a picture")
    Path(files[1]).unlink()
    plain = MeanEmbedder()
    assert fitted(plain, files).feature_dims == 768
    assert fitted(plain, []).feature_dims == 768
    assert plain.log == [6, 0]


def test_a_protocol_fits_on_its_gallery_alone(files: list[str]) -> None:
    truth = from_labels("t", files, ["a", "b"] * 4, ([0, 1], [2, 3, 4, 5, 6, 7]))
    plain = MeanEmbedder()
    done = measure(truth, plain, IndexSpec(projection="none"))
    assert plain.log == [6] and done.answers.gallery == 6
    assert done.answers.about["fingerprint"] == fitted(plain, files[2:]).fingerprint
    assert done.answers.about["fitting_s"] >= 0
