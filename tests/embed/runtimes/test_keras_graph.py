"""The compiled network: what it answers does not depend on what else is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cbir.embed import Embedder
from cbir.embed.runtimes.keras_graph import BATCH, FEW, KerasRuntime
from tests.backbones.photos import noise


@pytest.mark.parametrize("n", [0, 1, 2, FEW - 1, FEW, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_any_number_of_images(tiny: Embedder, n: int) -> None:
    pixels = noise(n, 32)
    found = KerasRuntime(tiny.model)(pixels)
    assert found.shape == (n, 96) and found.dtype == np.float32
    if n:
        expected = np.asarray(tiny.model(pixels, training=False))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_and_position_change_nothing(tiny: Embedder) -> None:
    run = KerasRuntime(tiny.model)
    wanted = noise(1, 32)[0]
    found = []
    for place in range(BATCH):
        pixels = noise(BATCH, 32, seed=place + 1)
        pixels[place] = wanted
        found.append(run(pixels)[place])
    assert all(np.array_equal(row, found[0]) for row in found)
    filled_up = run(wanted[None].repeat(FEW, axis=0))
    assert np.array_equal(filled_up[-1], found[0])
    alone = run(wanted[None])[0]
    np.testing.assert_allclose(alone, found[0], rtol=1e-4, atol=1e-5)


def test_what_ran_before_changes_nothing(tiny: Embedder) -> None:
    pixels = noise(BATCH, 32)
    few, many = KerasRuntime(tiny.model), KerasRuntime(tiny.model)
    first = few(pixels[:3])
    whole = many(pixels)
    np.testing.assert_array_equal(many(pixels[:3]), first)
    np.testing.assert_array_equal(few(pixels), whole)
    assert few._ran == many._ran == {1, BATCH}


def test_one_graph_takes_one_image_and_many(tiny: Embedder) -> None:
    """Each graph holds the weights several times over."""
    run = KerasRuntime(tiny.model)
    run(noise(1, 32))
    graph = run._compiled
    run(noise(BATCH, 32))
    assert run._compiled is graph and run._ran == {1, BATCH}


def test_many_threads_may_ask(tiny: Embedder) -> None:
    run = KerasRuntime(tiny.model)
    pixels = noise(24, 32)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: run(pixels[i : i + 1])[0], range(24)))
    np.testing.assert_allclose(found, run(pixels), rtol=1e-4, atol=1e-5)


def test_pixels_that_are_a_view(tiny: Embedder) -> None:
    run = KerasRuntime(tiny.model)
    pixels = noise(3, 32)
    np.testing.assert_array_equal(run(pixels[::-1]), run(pixels)[::-1])
