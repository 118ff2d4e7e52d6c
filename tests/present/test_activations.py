"""Pictures of activation maps: scaling, grids, filters, the page and the sheet."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cbir.present.activations import (
    LayerView,
    NetView,
    activations_page,
    facts_of,
    filter_grid,
    map_grid,
    png,
    scaled,
    silent,
)
from cbir.present.activations_sheet import activations_sheet


def maps(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(height, width, channels)).astype(np.float32)


def view(**changes: object) -> NetView:
    layers = (LayerView("first<b>", ("ReLU",), maps(6, 6, 20)), LayerView("second", (),
              maps(1, 1, 5)))  # fmt: skip
    given = {
        "network": "net & co", "picture": "<x>.jpg", "pixels": np.full((8, 8, 3), 90, np.uint8),
        "layers": layers, "filters": ("first", maps(4, 3 * 3, 3).reshape(4, 3, 3, 3)), **changes,
    }  # fmt: skip
    return NetView(**given)  # type: ignore[arg-type]


def test_each_map_is_scaled_on_its_own() -> None:
    a = np.stack([[[0.0, 1.0], [2.0, 4.0]], [[-3.0, -3.0], [-3.0, -3.0]]], -1).astype(np.float32)
    found = scaled(a)
    assert found[..., 0].tolist() == [[0, 64], [127, 254]]
    assert not found[..., 1].any()
    assert silent(a) == 1


def test_maps_of_one_place_are_scaled_together() -> None:
    a = np.array([0.0, 1.0, 2.0], np.float32).reshape(1, 1, 3)
    assert scaled(a).ravel().tolist() == [0, 127, 254]
    assert silent(a) == 1


@pytest.mark.parametrize(
    ("side", "channels", "size"),
    [(7, 3, (3 * 56 + 2 * 2, 56)), (28, 20, (16 * 56 + 15 * 2, 2 * 56 + 2)),
     (112, 1, (80, 80)), (60, 16, (16 * 60 + 15 * 2, 60)), (1, 2, (2 * 56 + 2, 56))],
)  # fmt: skip
def test_the_size_of_a_grid(side: int, channels: int, size: tuple[int, int]) -> None:
    image = map_grid(LayerView("a", (), maps(side, side, channels)), 64, "viridis")
    assert image.size == size


def test_cells_lie_in_rows_with_transparent_gaps() -> None:
    a = np.zeros((2, 2, 17), np.float32)
    a[0, 1, 16] = 5
    image = map_grid(LayerView("a", (), a), 64, "grey")
    back = Image.open(io.BytesIO(png(image))).convert("RGBA")
    found = np.asarray(back)
    assert found.shape[0] == 2 * 56 + 2
    last = found[58:, :56]
    assert last[:28, 28:].min() == 255 and last[:28, :28, :3].max() == 0
    assert (found[56:58, :, 3] == 0).all() and (found[58:, 58:, 3] == 0).all()
    assert (found[:56, :56, 3] == 255).all()


def test_colours_run_from_dark_to_light() -> None:
    ramp = np.arange(64, dtype=np.float32).reshape(8, 8, 1)
    for colors in ("viridis", "grey"):
        image = map_grid(LayerView("a", (), ramp), 1, colors).convert("L")  # type: ignore[arg-type]
        brightness = np.asarray(image)[::7, ::7][:8, :8].ravel().astype(int)
        assert (np.diff(brightness) >= 0).all() and brightness[-1] - brightness[0] > 150


def test_filters_as_pictures() -> None:
    kernel = np.zeros((2, 2, 2, 3), np.float32)
    kernel[0, 0, 0, 0] = 1  # one red place
    kernel[1, 1, 1, 2] = -1  # all but blue there
    found = np.asarray(filter_grid(kernel))
    assert found.shape == (56, 2 * 56 + 2, 4)
    assert found[0, 0].tolist() == [255, 0, 0, 255] and found[0, 40].tolist() == [0, 0, 0, 255]
    assert found[55, -1].tolist() == [255, 255, 0, 255]
    assert found[0, 57, 3] == 0
    grey = np.asarray(filter_grid(kernel[..., :1]))
    assert (grey[..., 0] == grey[..., 2]).all()


def test_facts() -> None:
    one = LayerView("a", ("BatchNormalization", "ReLU"), np.zeros((4, 5, 70), np.float32))
    assert facts_of(one, 64) == (
        "4 × 5 × 70", "64 of 70 channels shown", "after BatchNormalization, ReLU", "70 silent",
    )  # fmt: skip
    assert facts_of(LayerView("a", (), maps(2, 2, 3)), 64) == ("2 × 2 × 3", "3 channels")


def test_the_page() -> None:
    html = activations_page(view())
    assert "net &amp; co: activation maps" in html and "first&lt;b&gt;" in html
    assert "&lt;x&gt;.jpg" in html and "<x>" not in html and "<script" not in html
    assert "20 channels" in html and "after ReLU" in html and "Filters of first" in html
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(one))).size
        for one in re.findall(r"data:image/png;base64,([^\"]+)", html)
    ]
    filters, first, second = sizes
    assert filters == (4 * 54 + 6, 54) and first[1] == 2 * 54 + 2 and second[1] == 56
    assert "Filters" not in activations_page(view(filters=None))


def test_the_sheet() -> None:
    with_filters, without = activations_sheet(view()), activations_sheet(view(filters=None))
    assert with_filters.mode == "RGB" and with_filters.width == without.width
    assert with_filters.height == without.height + 34 + 54 + 24
    assert np.asarray(without)[-1, -1].tolist() == [255] * 3
    few = activations_sheet(view(filters=None, channels=16))
    assert few.height == without.height - 54 - 2
