"""The colour histogram against a plain loop."""

from __future__ import annotations

import math

import numpy as np

from cbir.evaluate import colour_histogram


def test_against_a_plain_loop() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    found = colour_histogram(pixels)
    assert found.dtype == np.float32 and found.shape == (3, 512)
    for image, row in zip(pixels, found, strict=True):
        counts = [0] * 512
        for line in image:
            for red, green, blue in line:
                counts[(int(red) // 32 * 8 + int(green) // 32) * 8 + int(blue) // 32] += 1
        roots = [math.sqrt(count / 30) for count in counts]
        assert np.allclose(row, roots, atol=1e-6)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_no_images_and_other_bins() -> None:
    assert colour_histogram(np.zeros((0, 4, 4, 3), np.uint8)).shape == (0, 512)
    plain = colour_histogram(np.full((1, 4, 4, 3), 255, np.uint8), bins=2)
    assert plain.tolist() == [[0, 0, 0, 0, 0, 0, 0, 1]]
