"""Activation maps and filters as the pictures that textbooks draw: grids, a cell for a channel."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import cbir
from cbir.present.names import visible
from cbir.present.numbers import count
from cbir.present.templating import render
from cbir.present.thumbnails import data_uri
from cbir.types import Pixels

if TYPE_CHECKING:
    from PIL import Image

Colors = Literal["viridis", "grey"]

_CELL = (56, 80)  # pixels: maps are enlarged to about the first, reduced to the second
_GAP = 2
_COLUMNS = 16
_CLEAR = 255
"""Palette entry of what lies between the cells, which is transparent; values are 0 to 254."""


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer: its name, what was applied after it, its maps as float32 (h, w, c)."""

    layer: str
    after: tuple[str, ...]
    maps: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NetView:
    """All that a page or sheet of activations shows.

    `pixels`: the picture as the network sees it, uint8 (s, s, 3); `filters`: name of the first
    convolution and its filters, float32 (n, h, w, 1 or 3), None to show none; `channels`: how many
    maps of a layer are shown, at most, the first ones.
    """

    network: str
    picture: str
    pixels: Pixels
    layers: tuple[LayerView, ...]
    filters: tuple[str, NDArray[np.float32]] | None = None
    channels: int = 64
    colors: Colors = "viridis"
    date: str = ""


def scaled(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each map on its own from its least to its largest value: (h, w, c) → 0..254, same shape.

    A map without contrast is 0 throughout. Maps of one place, (1, 1, c), are scaled together, since
    each alone has no contrast.
    """
    axes = (0, 1, 2) if maps.shape[:2] == (1, 1) else (0, 1)
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    shares = (maps - low) / np.where(span > 0, span, 1)
    found: NDArray[np.uint8] = np.rint(shares * (_CLEAR - 1)).astype(np.uint8)
    return found


def silent(maps: NDArray[np.float32]) -> int:
    """How many maps say nothing of this picture: the same value everywhere."""
    if maps.shape[:2] == (1, 1):
        return int((maps == 0).sum())
    return int((maps.max(axis=(0, 1)) == maps.min(axis=(0, 1))).sum())


def map_grid(view: LayerView, channels: int, colors: Colors) -> Image.Image:
    """The first maps of a layer in rows of 16, with transparent gaps, as a palette picture."""
    cells = [_cell(one) for one in np.moveaxis(scaled(view.maps[..., :channels]), -1, 0)]
    image = _image(_laid(np.stack(cells), _CLEAR), "P")
    image.putpalette(_palette(colors))
    image.info["transparency"] = _CLEAR
    return image


def filter_grid(filters: NDArray[np.float32]) -> Image.Image:
    """Filters (n, h, w, 1 or 3) as RGB, each scaled on its own; grey where they see one channel."""
    n, height, width, _ = filters.shape
    flat = filters.reshape(n, -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    span = np.where(high > low, high - low, 1)
    shares = (filters - low[:, None, None, None]) / span[:, None, None, None]
    pixels = np.rint(np.broadcast_to(shares, (n, height, width, 3)) * 255).astype(np.uint8)
    factor = max(1, _CELL[0] // max(height, width))
    opaque = np.concatenate((pixels, np.full((n, height, width, 1), 255, np.uint8)), axis=-1)
    return _image(_laid(opaque.repeat(factor, 1).repeat(factor, 2), 0), "RGBA")


def _cell(one: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map enlarged by whole numbers, or reduced by averaging."""
    from PIL import Image

    height, width = one.shape
    if max(height, width) > _CELL[1]:
        scale = _CELL[1] / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = _image(one, "L").resize(size, Image.Resampling.BOX)
        reduced: NDArray[np.uint8] = np.minimum(np.asarray(small, np.uint8), _CLEAR - 1)
        return reduced
    factor = max(1, _CELL[0] // max(height, width))
    return one.repeat(factor, 0).repeat(factor, 1)


def _laid(cells: NDArray[np.uint8], ground: int) -> NDArray[np.uint8]:
    """(n, h, w, ...) → one picture, rows of 16 cells with gaps."""
    n, height, width = cells.shape[:3]
    columns = min(_COLUMNS, n)
    rows = -(-n // columns)
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, *cells.shape[3:])
    canvas = np.full(shape, ground, np.uint8)
    for i, cell in enumerate(cells):
        top, left = i // columns * (height + _GAP), i % columns * (width + _GAP)
        canvas[top : top + height, left : left + width] = cell
    return canvas


def _image(pixels: NDArray[np.uint8], mode: str) -> Image.Image:
    from PIL import Image

    source = Image.fromarray(np.ascontiguousarray(pixels))
    if mode != "P":
        return source
    made = Image.new("P", source.size)
    made.putdata(pixels.ravel().tolist())
    return made


def _palette(colors: Colors) -> list[int]:
    """255 colours from least to largest, and one for the gaps."""
    if colors == "grey":
        levels = np.linspace(0, 255, _CLEAR)
        table = np.stack([levels] * 3, axis=1)
    else:
        import matplotlib

        table = matplotlib.colormaps["viridis"](np.linspace(0, 1, _CLEAR))[:, :3] * 255
    return [*np.rint(table).astype(int).ravel().tolist(), 255, 255, 255]


def shape_text(maps: NDArray[np.float32]) -> str:
    """Height, width and channels: `112 × 112 × 32`."""
    return " × ".join(str(side) for side in maps.shape)


def facts_of(view: LayerView, channels: int) -> tuple[str, ...]:
    """What stands beside a layer's name."""
    there = view.maps.shape[2]
    shown = f"{channels} of {there} channels shown" if there > channels else count(there, "channel")
    quiet = silent(view.maps)
    notes = [shape_text(view.maps), shown]
    if view.after:
        notes.append("after " + ", ".join(view.after))
    if quiet:
        notes.append(f"{quiet} silent")
    return tuple(notes)


def activations_page(view: NetView) -> str:
    """The whole page: the picture, the first filters, then each layer's maps. No script."""
    layers: list[dict[str, Any]] = [
        {
            "anchor": f"layer-{i}",
            "name": visible(one.layer),
            "facts": facts_of(one, view.channels),
            "picture": _embedded(map_grid(one, view.channels, view.colors)),
        }
        for i, one in enumerate(view.layers, start=1)
    ]
    filters = None
    if view.filters is not None:
        name, kernels = view.filters
        n, height, width, depth = kernels.shape
        filters = {
            "name": visible(name),
            "facts": (f"{n} filters of {height} × {width} × {depth}",),
            "picture": _embedded(filter_grid(kernels)),
        }
    side = view.pixels.shape[0]
    return render(
        "activations.html.j2",
        title=f"{visible(view.network)}: activation maps",
        version=cbir.__version__,
        date=visible(view.date),
        facts=(visible(view.picture), f"{side} × {side} px", count(len(layers), "layer")),
        picture={"uri": data_uri(view.pixels, 480), "alt": visible(view.picture)},
        filters=filters,
        layers=layers,
        colors=view.colors,
    )


def _embedded(image: Image.Image) -> dict[str, Any]:
    return {"uri": _png_uri(image), "width": image.width, "height": image.height}


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _png_uri(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")
