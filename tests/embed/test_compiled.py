"""Embedders that are loaded, compiled, and then there without Keras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cbir.config import EmbedderSpec, RuntimeChoice, using_runtime
from cbir.embed import Embedder, compiled_embedder, compiled_stock
from cbir.embed.runtimes import exports
from cbir.embed.runtimes.keras_jit import gpus
from cbir.errors import EmbedderError, UsageError
from tests.backbones.photos import noise

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache" / "features.sqlite"))
    return tmp_path / "cache"


def test_the_compiled_one_is_the_same_embedder(tiny: Embedder, cache: Path) -> None:
    with using_runtime(RuntimeChoice("openvino")):
        assert compiled_embedder(tiny.fingerprint) is None
        loaded = Embedder.from_spec(tiny.spec)
        first = loaded.features(noise(5, 32))
        assert loaded.run_by.name == "openvino f32" and loaded.notes == []
        found = compiled_embedder(tiny.fingerprint)
    assert found is not None
    assert (found.spec, found.fingerprint, found.feature_dims) == (
        tiny.spec, tiny.fingerprint, tiny.feature_dims)  # fmt: skip
    assert found.is_stock and found.learned == frozenset()
    np.testing.assert_array_equal(found.features(noise(5, 32)), first)
    np.testing.assert_allclose(first, tiny.features(noise(5, 32)), rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match="expected uint8"):
        found.features(noise(1, 16))
    assert found.embed([noise(1, 40)[0]]).shape == (1, 96)


def test_keras_alone_where_that_was_chosen(tiny: Embedder, cache: Path) -> None:
    with using_runtime(RuntimeChoice("openvino")):
        Embedder.from_spec(tiny.spec).features(noise(1, 32))
    with using_runtime(RuntimeChoice("keras")):
        assert compiled_embedder(tiny.fingerprint) is None
        assert Embedder.from_spec(tiny.spec).run_by.name == "keras on tensorflow"
    with using_runtime(RuntimeChoice(device="gpu")):
        assert compiled_embedder(tiny.fingerprint) is None
        if not gpus(RuntimeChoice()):
            with pytest.raises(UsageError, match="it finds none"):
                Embedder.from_spec(tiny.spec).features(noise(1, 32))


def test_one_that_was_just_made_is_not_compiled(tiny: Embedder, cache: Path) -> None:
    with using_runtime(RuntimeChoice("openvino")):
        Embedder(tiny.spec, tiny.model).features(noise(1, 32))
    assert not cache.exists()


def test_a_trained_one_knows_what_it_learned_from(tiny: Embedder, cache: Path) -> None:
    folder = cache / "saved"
    learned = frozenset({b"a" * 16, b"b" * 16})
    tiny.save(folder, learned=learned)
    with using_runtime(RuntimeChoice("openvino")):
        Embedder.load(folder).features(noise(1, 32))
        found = compiled_embedder(tiny.fingerprint, str(folder))
        assert found is not None and found.learned == learned
        (folder / "learned.bin").write_bytes(b"torn")
        with pytest.raises(EmbedderError, match="torn"):
            compiled_embedder(tiny.fingerprint, str(folder))


def test_the_default_embedder_is_compiled_within_what_keras_makes(
    lite0: Embedder, cache: Path
) -> None:
    from cbir.images import prepare
    from cbir.images.sample import photographs

    pixels = np.stack([prepare(p, lite0.spec).pixels for p in photographs(18)])
    with using_runtime(RuntimeChoice("openvino")):
        found = Embedder.from_spec(lite0.spec).features(pixels)
    wanted = lite0.features(pixels)
    cosines = (
        (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    )
    assert cosines.min() > 0.99999


def test_a_stock_one_is_found_by_its_settings(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EmbedderSpec(input_size=32)
    with using_runtime(RuntimeChoice("openvino")):
        assert compiled_stock(spec) is None
        made = Embedder.from_spec(spec)
        made.features(noise(1, 32))
        found = compiled_stock(spec)
        assert found is not None and found.fingerprint == made.fingerprint
        assert compiled_stock(EmbedderSpec(input_size=64)) is None
        assert compiled_stock(EmbedderSpec(input_size=32, weights="file")) is None
        monkeypatch.setattr(exports, "made_with", lambda: {"keras": "another", "code": ""})
        assert compiled_stock(spec) is None
    with using_runtime(RuntimeChoice("keras")):
        assert compiled_stock(spec) is None


def test_a_query_loads_no_keras_where_something_compiled_is_there(
    tmp_path: Path, cache: Path
) -> None:
    """The whole command, in fresh processes: index with Keras once, then ask without it."""
    from cbir.images import make_sample

    make_sample(str(tmp_path / "photos"))
    code = (
        "import sys; from cbir.cli import run; code = run(sys.argv[1:]); "
        "print('heavy:', sorted({'tensorflow', 'keras'} & set(sys.modules)), code)"
    )

    def cbir(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=280,
            env={**__import__("os").environ, "CBIR_RUNTIME": "auto", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    index = str(tmp_path / "index")
    made = cbir("index", str(tmp_path / "photos" / "chelsea"), "-i", index)
    assert "heavy: ['keras', 'tensorflow'] 0" in made
    new = str(tmp_path / "photos" / "coffee" / "original.jpg")
    assert "heavy: [] 0" in cbir("query", new, "-i", index, "--crop", "0.1,0.1,0.5,0.5")
    assert "heavy: [] 0" in cbir("index", str(tmp_path / "photos" / "coffee"), "-i", index)
    other = str(tmp_path / "other")
    assert "heavy: [] 0" in cbir("index", str(tmp_path / "photos" / "coffee"), "-i", other)
