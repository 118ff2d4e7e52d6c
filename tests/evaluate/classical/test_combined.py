"""Descriptors side by side: equal weights, sizes, fitting."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError
from cbir.evaluate.classical import (
    CLASSICAL,
    ColourHistogram,
    Combined,
    FisherSpec,
    LocalBinaryPatterns,
    SiftFisher,
)
from cbir.images import resize
from tests.conftest import GridEmbedder
from tests.evaluate.classical.test_sift_fisher import photos


def small() -> Combined:
    parts = (ColourHistogram(), SiftFisher(fisher=FisherSpec(pca=8, components=2)))
    return Combined("test/both", parts)


def test_a_cosine_is_the_mean_of_the_parts() -> None:
    pixels = photos(224)
    parts = (ColourHistogram(), LocalBinaryPatterns())
    both = Combined("test/both", parts)
    assert both.fitted and both.feature_dims == 512 + 1134
    found = both.features(pixels)
    cosines = [p.features(pixels) @ p.features(pixels).T for p in parts]
    assert np.allclose(found @ found.T, sum(cosines) / 2, atol=1e-5)


def test_parts_take_pictures_of_their_own_size() -> None:
    pixels = photos(224)
    both = Combined("test/both", (GridEmbedder(32), ColourHistogram()))
    assert both.spec.input_size == 224
    small_ones = np.stack([resize(image, 32) for image in pixels])
    expected = GridEmbedder(32).features(small_ones)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(both.features(pixels)[:, :48] * np.sqrt(2), expected, atol=1e-5)
    assert both.features(pixels[:0]).shape == (0, 560)


def test_fitting_and_keeping() -> None:
    plain = small()
    assert not plain.fitted
    with pytest.raises(EmbedderError, match="not"):
        _ = plain.fingerprint
    found = plain.fit(photos(224), seed=3)
    assert found.fitted and found.feature_dims == 512 + 2 * 2 * 11
    again = small().restore(found.dump())
    assert again.fingerprint == found.fingerprint
    assert np.array_equal(again.features(photos(224)), found.features(photos(224)))
    for bad in (b"", b"123", found.dump()[:-9]):
        with pytest.raises(ValueError, match="not"):
            small().restore(bad)


def test_a_part_that_says_nothing_leaves_the_others() -> None:
    flat = np.full((2, 224, 224, 3), 50, np.uint8)
    rows = small().fit(flat).features(flat)
    assert np.allclose(np.linalg.norm(rows, axis=1), np.sqrt(0.5))


def test_parts_that_do_not_fit() -> None:
    grid = GridEmbedder(32)
    grid.spec = EmbedderSpec("test-grid", "random:0", input_size=32, resize="pad")
    with pytest.raises(UsageError, match="pad, squash"):
        Combined("test/both", (grid, ColourHistogram()))
    with pytest.raises(UsageError, match="none"):
        Combined("test/none", ())


def test_all_names_are_the_descriptors_own() -> None:
    for name, make in CLASSICAL.items():
        assert make().spec.backbone == name
    assert {"classical/colour", "classical/lbp", "classical/sift-fv", "classical/combined"} <= set(
        CLASSICAL
    )
