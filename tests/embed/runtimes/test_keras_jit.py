"""The runtime for GPUs, on processors: the same features, batches that fit, several devices."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cbir.config import Precision, RuntimeChoice
from cbir.embed import Embedder
from cbir.embed.runtimes import keras_jit
from cbir.embed.runtimes.keras_jit import KerasJitRuntime, gpus
from cbir.errors import EmbedderError, UsageError
from cbir.types import Pixels, Vectors
from tests.backbones.photos import noise

ROOT = Path(__file__).parents[3]


def cosines(one: Vectors, other: Vectors) -> Vectors:
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / length


@pytest.mark.parametrize("n", [0, 1, 2, 5, 33])
def test_any_number_of_images(n: int, tiny: Embedder, jitted: KerasJitRuntime) -> None:
    found = jitted(noise(n, 32))
    assert found.shape == (n, 96) and found.dtype == np.float32
    if n:
        expected = np.asarray(tiny.model(noise(n, 32), training=False))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def jitted(tiny: Embedder) -> KerasJitRuntime:
    return KerasJitRuntime(tiny.model, ["cpu:0"])


def test_several_devices_take_parts(tiny: Embedder, jitted: KerasJitRuntime) -> None:
    both = KerasJitRuntime(tiny.model, ["cpu:0", "cpu:0"])
    assert both.name == "keras on tensorflow, f32, cpu:0, cpu:0"
    for n in (1, 2, 9):
        np.testing.assert_allclose(both(noise(n, 32)), jitted(noise(n, 32)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "policy"), [("bf16", "bf16"), ("int8", "f32")])
def test_precisions(precision: Precision, policy: str, tiny: Embedder) -> None:
    run = KerasJitRuntime(tiny.model, ["cpu:0"], precision)
    assert f", {policy}," in run.name
    found, wanted = run(noise(4, 32)), tiny.features(noise(4, 32))
    assert np.array_equal(found, wanted) is False or policy == "f32"
    cosines = (
        (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    )
    assert cosines.min() > 0.99
    np.testing.assert_array_equal(tiny.features(noise(4, 32)), wanted)  # the model is as it was


def limited(most: int, seen: list[int]) -> keras_jit.Run:
    def run(pixels: Pixels) -> Vectors:
        seen.append(len(pixels))
        if len(pixels) > most:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return pixels[:, 0, 0, :1].astype(np.float32)

    return run


def test_batches_shrink_until_they_fit(tiny: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(keras_jit, "_compiled", lambda *_: limited(20, seen))
    run = KerasJitRuntime(tiny.model, ["gpu:0"])
    pixels = noise(70, 32)
    np.testing.assert_array_equal(run(pixels)[:, 0], pixels[:, 0, 0, 0])
    assert run.batch <= 20 and seen[0] == 128 and max(seen[-4:]) <= 20
    before = len(seen)
    run(pixels)
    assert max(seen[before:]) <= 20  # it is remembered
    none = KerasJitRuntime(tiny.model, ["gpu:0"])
    monkeypatch.setattr(keras_jit, "_compiled", lambda *_: limited(0, seen))
    with pytest.raises(EmbedderError, match="One image does not fit"):
        none(pixels)


def test_other_errors_come_out(tiny: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(pixels: Pixels) -> Vectors:
        raise ValueError("shapes")

    monkeypatch.setattr(keras_jit, "_compiled", lambda *_: broken)
    with pytest.raises(ValueError, match="shapes"):
        KerasJitRuntime(tiny.model, ["gpu:0"])(noise(3, 32))


def test_devices_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_jit, "_count_gpus", lambda: 2)
    assert gpus(RuntimeChoice()) == gpus(RuntimeChoice(device="gpu")) == ["gpu:0", "gpu:1"]
    assert gpus(RuntimeChoice(device="gpu:1")) == ["gpu:1"]
    assert gpus(RuntimeChoice(device="cpu")) == gpus(RuntimeChoice("openvino")) == []
    with pytest.raises(UsageError, match="it finds 2"):
        gpus(RuntimeChoice(device="gpu:2"))
    monkeypatch.setattr(keras_jit, "_count_gpus", lambda: 0)
    assert gpus(RuntimeChoice()) == []
    with pytest.raises(UsageError, match="it finds none"):
        gpus(RuntimeChoice(device="gpu"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_make_the_same_features(backend: str, tmp_path: Path) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    code = (
        "import sys, numpy as np\n"
        "from cbir.config import EmbedderSpec\n"
        "from cbir.embed import Embedder\n"
        "from cbir.embed.runtimes.keras_jit import KerasJitRuntime\n"
        "from tests.backbones.photos import noise\n"
        "made = Embedder.from_spec(EmbedderSpec('efficientnet-lite0', input_size=64))\n"
        "for precision in ('f32', 'bf16'):\n"
        "    rows = KerasJitRuntime(made.model, ['cpu:0'], precision)(noise(5, 64))\n"
        "    np.save(f'{sys.argv[1]}/{precision}.npy', rows)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, timeout=280, cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wanted = Embedder.load("efficientnet-lite0", input_size=64).features(noise(5, 64))
    found = np.load(tmp_path / "f32.npy")
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-3)
    half = np.load(tmp_path / "bf16.npy")
    assert 0.98 < cosines(half, wanted).min() < 0.9999999
