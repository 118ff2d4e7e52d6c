"""Rankings as one picture: a contact sheet to mail, print or put into a report.

Each query stands on the left in a coloured frame, its hits in a grid beside it with rank, score,
match and file name; several queries are stacked.
"""

from __future__ import annotations

import functools
import io
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cbir.errors import UsageError
from cbir.present.files import write_whole
from cbir.present.names import query_name, visible
from cbir.present.numbers import count, human_duration, percent, score_text
from cbir.present.thumbnails import preview
from cbir.types import Hit, Ranking

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Color: TypeAlias = tuple[int, int, int]

_INK: Color = (26, 29, 35)
_SOFT: Color = (86, 94, 108)
_ACCENT: Color = (31, 95, 191)
_GOOD: Color = (26, 112, 64)
_PAPER: Color = (255, 255, 255)
_MAT: Color = (238, 240, 243)
_LINE: Color = (210, 214, 221)

_LARGEST_SIDE = 16000  # pixels; WebP ends at 16383
_MOST_PIXELS = 64_000_000
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".pdf": "PDF", ".png": "PNG", ".webp": "WEBP"}
_REPLACEMENT = "?"
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class SheetOptions:
    """What a contact sheet looks like.

    cell     side of a hit's picture, pixels, 64 to 1024
    columns  hits beside each other, 1 to 100
    title    a line above everything; none where empty
    """

    cell: int = 200
    columns: int = 5
    title: str = ""

    def __post_init__(self) -> None:
        for name, value, most in (("cell", self.cell, 1024), ("columns", self.columns, 100)):
            least = 64 if name == "cell" else 1
            if not least <= value <= most:
                raise UsageError(f"{name}: expected {least} to {most}; received {value}.")


@dataclass(frozen=True, slots=True)
class _Layout:
    """All lengths of a sheet in pixels, from the side of a cell."""

    cell: int
    columns: int
    text: int  # size of the text
    line: int  # from one line of text to the next
    gap: int
    margin: int

    @classmethod
    def of(cls, options: SheetOptions) -> _Layout:
        text = max(11, round(options.cell * 0.07))
        gap = max(8, options.cell // 12)
        return cls(options.cell, options.columns, text, round(text * 1.4), gap, gap * 2)

    @property
    def query(self) -> int:
        """Side of a query's picture."""
        return round(self.cell * 1.4)

    @property
    def caption(self) -> int:
        return 2 * self.line + self.text // 2

    @property
    def row(self) -> int:
        return self.cell + self.caption + self.gap

    @property
    def hits_left(self) -> int:
        return self.margin + self.query + self.margin

    def width(self, most_hits: int) -> int:
        used = max(1, min(self.columns, most_hits))
        return self.hits_left + used * self.cell + (used - 1) * self.gap + self.margin

    def height(self, ranking: Ranking) -> int:
        """Of one query's block, the distance to the next included."""
        rows = -(-len(ranking.hits) // self.columns)
        return max(self.asked(ranking) + 3 * self.line, rows * self.row) + self.margin

    def asked(self, ranking: Ranking) -> int:
        """Height of a query's picture, or pictures: two beside each other; the gap included."""
        rows = -(-len(ranking.files) // 2) if len(ranking.files) > 1 else 1
        return rows * (self.asked_side(ranking) + self.gap)

    def asked_side(self, ranking: Ranking) -> int:
        return self.query if len(ranking.files) < 2 else (self.query - self.gap) // 2


def contact_sheet(rankings: Sequence[Ranking], options: SheetOptions | None = None) -> Image.Image:
    """One RGB picture of all rankings.

    It is as wide as its fullest row. Files that are missing or broken are shown as a grey
    stand-in; characters that Pillow's own font lacks lose their accent or become `?`. Raises
    UsageError without rankings, and where the sheet would be longer than 16,000 pixels on a side
    or hold more than 64 million of them: the limit is checked before anything is drawn.
    """
    from PIL import Image, ImageDraw

    options = options or SheetOptions()
    layout = _Layout.of(options)
    top = layout.margin + (2 * layout.line if options.title else 0)
    size = _checked_size(rankings, layout, top)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    if options.title:
        room = size[0] - 2 * layout.margin
        _write(draw, (layout.margin, layout.margin), options.title, room, layout.text + 4)
    for number, ranking in enumerate(rankings):
        if number:
            draw.line((layout.margin, top, size[0] - layout.margin, top), fill=_LINE)
            top += layout.margin
        _draw_query(sheet, ranking, layout, top)
        for place, hit in enumerate(ranking.hits):
            row, column = divmod(place, layout.columns)
            x = layout.hits_left + column * (layout.cell + layout.gap)
            _draw_hit(sheet, hit, layout, (x, top + row * layout.row))
        if not ranking.hits:
            where = (layout.hits_left, top + layout.query // 2)
            text = "no match in this gallery" if ranking.no_match else "no hits"
            _write(draw, where, text, size[0] - layout.margin - where[0], layout.text, _SOFT)
        top += layout.height(ranking)
    return sheet


def write_sheet(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Write the sheet whole, in the format that the name's suffix says: png, jpg, webp or pdf.

    Raises UsageError for another suffix or a missing folder, OperationFailedError where writing
    fails.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"sheet: expected a name that ends with {', '.join(sorted(FORMATS))}; "
            f"received {visible(os.fspath(path))}."
        )
    stream = io.BytesIO()
    image.save(stream, FORMATS[suffix], quality=90, resolution=150.0)  # each where it applies
    write_whole(path, stream.getvalue())


def _checked_size(rankings: Sequence[Ranking], layout: _Layout, top: int) -> tuple[int, int]:
    if not rankings:
        raise UsageError("sheet: expected at least one ranking; received none.")
    width = layout.width(max(len(ranking.hits) for ranking in rankings))
    height = top + sum(map(layout.height, rankings)) + (len(rankings) - 1) * layout.margin
    if max(width, height) > _LARGEST_SIDE or width * height > _MOST_PIXELS:
        raise UsageError(
            f"sheet: expected at most {_LARGEST_SIDE:,} pixels a side and {_MOST_PIXELS:,} in all; "
            f"received {width:,} x {height:,}. Ask for fewer queries or hits, more columns or a "
            "smaller cell, or make an HTML page instead."
        )
    return width, height


def _draw_query(sheet: Image.Image, ranking: Ranking, layout: _Layout, top: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    frame = max(2, layout.cell // 50)
    side = layout.asked_side(ranking)
    for place, file in enumerate(ranking.files or (None,)):
        row, column = divmod(place, 2)
        x = layout.margin + column * (side + layout.gap)
        y = top + row * (side + layout.gap)
        if file is None:
            draw.rectangle((x, y, x + side, y + side), _MAT)
        else:
            _paste(sheet, file, (x, y), side)
        draw.rectangle((x, y, x + side, y + side), outline=_ACCENT, width=frame)
    facts = f"{count(len(ranking.hits), 'hit')}  ·  {human_duration(ranking.took_ms / 1000)}"
    index = f"index {ranking.index}"
    y = top + layout.asked(ranking)
    for text, color in ((query_name(ranking), _INK), (facts, _SOFT), (index, _SOFT)):
        _write(draw, (layout.margin, y), text, layout.query, layout.text, color)
        y += layout.line


def _draw_hit(sheet: Image.Image, hit: Hit, layout: _Layout, place: tuple[int, int]) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    x, y = place
    _paste(sheet, hit.path, place, layout.cell)
    draw.rectangle((x, y, x + layout.cell, y + layout.cell), outline=_LINE)
    if hit.identical:
        pad = layout.text // 2
        font = _font(layout.text)
        right, bottom = x + layout.cell, y + layout.text + 2 * pad
        left = right - round(font.getlength("identical")) - 2 * pad
        draw.rectangle((left, y, right, bottom), fill=_GOOD)
        draw.text((left + pad, y + pad), "identical", font=font, fill=_PAPER)
    y += layout.cell + layout.text // 2
    facts = [f"{hit.rank}.  {score_text(hit.score)}"]
    if hit.match is not None:
        facts.append(f"{percent(hit.match)} match")
    _write(draw, (x, y), "  ·  ".join(facts), layout.cell, layout.text, _INK)
    name = os.path.basename(hit.path) or hit.path
    _write(draw, (x, y + layout.line), name, layout.cell, layout.text, _SOFT)


def _paste(sheet: Image.Image, file: str, place: tuple[int, int], side: int) -> None:
    """The file's picture in the middle of a grey square."""
    image = preview(file, side).image
    x, y = place
    sheet.paste(_MAT, (x, y, x + side, y + side))
    sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    room: int,
    size: int,
    color: Color = _INK,
) -> None:
    draw.text(place, fitted(text, room, size), font=_font(size), fill=color)


def fitted(text: str, room: int, size: int) -> str:
    """The text as the sheet's font can draw it, its middle left out where it is too long.

    The end of a file name tells as much as its start, so both are kept.
    """
    font = _font(size)
    drawable = "".join(map(_drawable, unicodedata.normalize("NFC", visible(text))))
    if font.getlength(drawable) <= room:
        return drawable
    low, high = 0, len(drawable)
    while low < high:  # the largest number of characters that fits
        middle = (low + high + 1) // 2
        if font.getlength(_shortened(drawable, middle)) <= room:
            low = middle
        else:
            high = middle - 1
    return _shortened(drawable, low)


def _shortened(text: str, kept: int) -> str:
    tail = kept * 2 // 5
    return text[: kept - tail] + _ELLIPSIS + (text[-tail:] if tail else "")


@functools.lru_cache(maxsize=4096)
def _drawable(char: str) -> str:
    for candidate in (char, unicodedata.normalize("NFKD", char)[:1]):
        if candidate.isspace():
            return " "
        if _has_glyph(candidate):
            return candidate
    return _REPLACEMENT


def _has_glyph(char: str) -> bool:
    """Whether the font draws more than the box that it draws for characters it lacks."""
    font = _font(16)
    return bytes(font.getmask(char)) != bytes(font.getmask("\U0010ffff"))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UsageError("sheet: expected Pillow with FreeType; install Pillow from its wheel.")
    return font
