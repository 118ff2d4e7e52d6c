"""Activation maps as one tall picture: the network's layers below each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbir.present.activations import NetView, facts_of, filter_grid, map_grid
from cbir.present.names import visible

if TYPE_CHECKING:
    from PIL import Image

_INK, _SOFT, _PAPER = (26, 29, 35), (86, 94, 108), (255, 255, 255)
_MARGIN, _LINE, _PICTURE = 24, 34, 224


def activations_sheet(view: NetView) -> Image.Image:
    """Title and picture, the first filters, then a grid for each layer: an RGB picture."""
    from PIL import Image

    side = view.pixels.shape[0]
    enlarged = view.pixels.repeat(max(1, _PICTURE // 2 // side), 0)
    small = Image.fromarray(enlarged.repeat(max(1, _PICTURE // 2 // side), 1))
    small.thumbnail((_PICTURE, _PICTURE))
    parts = [(f"{visible(view.network)}: {visible(view.picture)}", f"{side} × {side} px", small)]
    if view.filters is not None:
        name, kernels = view.filters
        parts.append((f"filters of {visible(name)}", "", filter_grid(kernels)))
    for one in view.layers:
        grid = map_grid(one, view.channels, view.colors).convert("RGBA")
        parts.append((visible(one.layer), " · ".join(facts_of(one, view.channels)), grid))
    plain = [(name, facts.replace("×", "x"), grid) for name, facts, grid in parts]
    return _stacked(plain)  # Pillow's own font has no ×


def _stacked(parts: list[tuple[str, str, Image.Image]]) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    bold, plain = ImageFont.load_default(18), ImageFont.load_default(15)
    widths = [max(grid.width, bold.getlength(name) + 16 + plain.getlength(facts))
              for name, facts, grid in parts]  # fmt: skip
    width = int(max(widths)) + 2 * _MARGIN
    height = _MARGIN + sum(_LINE + grid.height + _MARGIN for _, _, grid in parts)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _MARGIN
    for name, facts, grid in parts:
        draw.text((_MARGIN, top + _LINE / 2), name, _INK, bold, anchor="lm")
        left = _MARGIN + bold.getlength(name) + 16
        draw.text((left, top + _LINE / 2), facts, _SOFT, plain, anchor="lm")
        mask = grid if grid.mode == "RGBA" else None
        sheet.paste(grid, (_MARGIN, top + _LINE), mask)
        top += _LINE + grid.height + _MARGIN
    return sheet
