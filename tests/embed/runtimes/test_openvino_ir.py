"""Networks compiled for the processor: the same features, whatever is asked for beside them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cbir.embed import Embedder
from cbir.embed.runtimes.openvino_ir import FEW, OpenVinoRuntime, convert, openvino
from tests.backbones.photos import noise


@pytest.fixture(scope="module")
def path(tiny: Embedder, tmp_path_factory: pytest.TempPathFactory) -> str:
    return convert(tiny.model, str(tmp_path_factory.mktemp("network")))


@pytest.mark.parametrize("n", [0, 1, 2, FEW - 1, FEW, FEW + 1, 33])
def test_any_number_of_images(path: str, tiny: Embedder, n: int) -> None:
    pixels = noise(n, 32)
    found = OpenVinoRuntime(path)(pixels)
    assert found.shape == (n, 96) and found.dtype == np.float32
    if n:
        expected = np.asarray(tiny.model(pixels, training=False))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_neighbours_and_position_change_nothing(path: str) -> None:
    run, wanted = OpenVinoRuntime(path), noise(1, 32)[0]
    found = []
    for place in range(0, 16, 3):
        pixels = noise(16, 32, seed=place + 1)
        pixels[place] = wanted
        found.append(run(pixels)[place])
    assert all(np.array_equal(row, found[0]) for row in found)
    np.testing.assert_allclose(run(wanted[None])[0], found[0], rtol=1e-4, atol=1e-5)


def test_none_first_then_some(path: str) -> None:
    run = OpenVinoRuntime(path)
    assert run(noise(0, 32)).shape == (0, 96)
    pixels = noise(9, 32)
    np.testing.assert_array_equal(run(pixels), run(pixels))


def test_many_threads_may_ask(path: str) -> None:
    run, pixels = OpenVinoRuntime(path), noise(24, 32)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: run(pixels[i : i + 6]), range(0, 24, 6)))
    np.testing.assert_array_equal(np.concatenate(found), run(pixels))


def test_pixels_that_are_a_view(path: str) -> None:
    run, pixels = OpenVinoRuntime(path), noise(8, 32)
    np.testing.assert_array_equal(run(pixels[::-1]), run(pixels)[::-1])


def test_the_precision_is_what_was_asked_for(path: str) -> None:
    """Left alone, OpenVINO takes bfloat16 wherever the processor has it."""
    for precision, kind in (("f32", "float"), ("bf16", "bfloat16")):
        run = OpenVinoRuntime(path, precision)
        run(noise(1, 32))
        run(noise(FEW, 32))
        compiled = run._alone.get_compiled_model()
        assert kind in str(compiled.get_property("INFERENCE_PRECISION_HINT")).lower()
        assert run.name == f"openvino {precision}"


def test_nothing_is_reported_to_anybody(
    tiny: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino_telemetry

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a report of use was begun")

    openvino()
    monkeypatch.setattr(openvino_telemetry, "Telemetry", refuse)
    convert(tiny.model, str(tmp_path))
    assert (tmp_path / "model.xml").exists() and (tmp_path / "model.bin").exists()
