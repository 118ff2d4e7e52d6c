"""Embedders of another precision: other fingerprints, features nearly the same, saved whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbir.config import EmbedderSpec, RuntimeChoice, using_runtime
from cbir.embed import Embedder, compiled_embedder
from cbir.embed import embedder as embedder_module
from cbir.embed.runtimes import quantise as module
from cbir.embed.runtimes.quantise import LEAST, quantise
from cbir.errors import EmbedderError, UsageError
from cbir.images import resize
from cbir.images.sample import photographs
from cbir.types import Pixels
from tests.backbones.photos import noise

pytest.importorskip("nncf", reason="nncf is an extra")


@pytest.fixture(scope="module")
def base() -> Embedder:
    with using_runtime(RuntimeChoice("openvino")):
        return Embedder.from_spec(EmbedderSpec(input_size=64))


@pytest.fixture(scope="module")
def shown(base: Embedder) -> Pixels:
    """Real photographs, whole and in parts."""
    whole = [resize(p, 64, "squash") for p in photographs(18)]
    parts = [resize(p[: len(p) // 2], 64, "squash") for p in photographs(18)]
    return np.stack([*whole, *parts])


@pytest.fixture(scope="module")
def eight(base: Embedder, shown: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CBIR_CACHE", str(tmp_path_factory.mktemp("cache") / "features.sqlite"))
        return base.with_precision("int8", shown)


def cosines(one: Any, other: Any) -> Any:
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / length


def test_another_precision_is_another_embedder(
    base: Embedder, eight: Embedder, shown: Pixels, compiling: Path
) -> None:
    half = base.with_precision("bf16")
    assert len({base.fingerprint, half.fingerprint, eight.fingerprint}) == 3
    assert base.with_precision("f32").fingerprint == base.fingerprint
    pixels = shown[:6]
    plain = base.features(pixels)
    fresh = Embedder(eight.spec, eight.model, choice=RuntimeChoice("openvino"),
                     quantised=eight.quantised)  # fmt: skip
    for other, least in ((half, 0.98), (fresh, 0.5)):
        found = other.features(pixels)
        assert other.run_by.name == f"openvino {other.spec.precision}" and other.notes == []
        assert not np.array_equal(found, plain) and cosines(found, plain).min() > least
        again = compiled_embedder(other.fingerprint)
        assert again is not None and again.spec == other.spec
        np.testing.assert_array_equal(again.features(pixels), found)


def test_bf16_is_made_again_by_its_settings_and_int8_is_not(
    base: Embedder, eight: Embedder
) -> None:
    half = base.with_precision("bf16")
    assert half.is_stock and not half.spec.carried
    assert Embedder.from_spec(half.spec).fingerprint == half.fingerprint
    assert not eight.is_stock and eight.spec.carried and len(eight.spec.quantised) == 16


def test_int8_is_saved_with_what_was_quantised(
    eight: Embedder, tmp_path: Path, compiling: Path
) -> None:
    eight.save(tmp_path / "saved")
    again = Embedder.load(tmp_path / "saved")
    assert (again.fingerprint, again.spec) == (eight.fingerprint, eight.spec)
    np.testing.assert_array_equal(again.features(noise(3, 64)), eight.features(noise(3, 64)))
    again.save(tmp_path / "saved")  # over itself
    file = tmp_path / "saved" / "int8.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(EmbedderError, match="expected the quantised network"):
        Embedder.load(tmp_path / "saved")
    file.unlink()
    with pytest.raises(EmbedderError, match="int8 needs it"):
        Embedder.load(tmp_path / "saved")


def test_without_a_compiler_keras_does_it_and_says_so(eight: Embedder) -> None:
    with using_runtime(RuntimeChoice("keras")):
        plain = Embedder(eight.spec, eight.model, quantised=eight.quantised)
        plain.features(noise(1, 64))
    assert plain.notes == ["The embedder computes in int8, but is run by Keras, in f32: features "
                           "are nearly the same."]  # fmt: skip


def test_a_network_that_does_not_survive_is_refused(
    base: Embedder, shown: Pixels, compiling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "LEAST_INT8", 0.9999)
    with pytest.raises(UsageError, match="does not survive it: choose f32 or bf16"):
        base.with_precision("int8", shown)


def test_what_int8_takes(base: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"at least {LEAST} pictures"):
        base.with_precision("int8", noise(LEAST - 1, 64))
    with pytest.raises(UsageError, match="at least"):
        base.with_precision("int8")
    monkeypatch.setattr(module, "has_nncf", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'cbir\[int8\]'"):
        quantise(base.model, noise(LEAST, 64))


def test_quantising_says_nothing_to_anybody(
    base: Embedder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino_telemetry

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a report of use was begun")

    monkeypatch.setattr(openvino_telemetry, "Telemetry", refuse)
    assert "NNCF_CI" not in os.environ
    capfd.readouterr()
    quantise(base.model, noise(LEAST, 64))
    assert capfd.readouterr().out == ""
