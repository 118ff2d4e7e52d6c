"""The pictures of one page: made small, embedded, counted; each file is decoded once a size."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from cbir.errors import UsageError
from cbir.images.resize import parse_crop
from cbir.present.names import file_url, visible
from cbir.present.numbers import score_text
from cbir.present.thumbnails import Preview, jpeg, preview, to_data_uri


@dataclass(frozen=True, slots=True)
class AlbumPage:
    """A finished page, how many pictures it holds, and how many files it had to show in grey."""

    html: str
    pictures: int
    missing: int


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture that the report shows.

    `right` says whether it is relevant, None where that does not apply; `crop` is the part that was
    asked for, "x,y,w,h".
    """

    path: str
    label: str = ""
    rank: int | None = None
    score: float | None = None
    right: bool | None = None
    crop: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """An embedded picture with all that the page says of it; `name` is its folder and file."""

    uri: str
    width: int
    height: int
    name: str
    path: str
    url: str | None
    problem: str | None
    shot: Shot

    @property
    def label(self) -> str:
        """The picture's class, safe to show; "" where there is none."""
        return visible(self.shot.label)

    @property
    def score(self) -> str:
        """The score with three decimals, "" where there is none."""
        return "" if self.shot.score is None else score_text(self.shot.score)


class Album:
    """The pictures of one page: each file is decoded once a size; counts what is embedded."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str | None], Picture] = {}
        self.embedded = 0
        self.missing: set[str] = set()

    def picture(self, shot: Shot, side: int) -> Picture:
        """The picture, at most `side` pixels wide and high, its crop outlined."""
        small = self._small(shot, side)
        self.embedded += 1
        if small.problem:
            self.missing.add(shot.path)
        return replace(small, shot=shot)

    def _small(self, shot: Shot, side: int) -> Picture:
        key = (shot.path, side, shot.crop)
        if key not in self._known:
            made = preview(shot.path, side)
            if shot.crop and made.problem is None:
                _draw_box(made, shot.crop)
            self._known[key] = Picture(
                to_data_uri(jpeg(made.image)), made.image.width, made.image.height,
                _short(shot.path), visible(shot.path), file_url(shot.path),
                made.problem, shot,
            )  # fmt: skip
        return self._known[key]


def _short(path: str) -> str:
    folder, name = os.path.split(path)
    return visible(os.path.join(os.path.basename(folder), name))


def _draw_box(made: Preview, crop: str) -> None:
    """Outline a part of a picture, in white between black: seen on any ground."""
    from PIL import ImageDraw

    try:
        left, top, right, bottom = parse_crop(crop, made.width, made.height)
    except UsageError:  # the file has changed since, and has no such part
        return
    scale = made.image.width / made.width
    corners = [v * scale for v in (left, top, right - 1, bottom - 1)]
    draw = ImageDraw.Draw(made.image)
    draw.rectangle(corners, outline="black", width=5)
    x, y, far, low = corners
    inner = [x + 1, y + 1, max(far - 1, x + 1), max(low - 1, y + 1)]
    draw.rectangle(inner, outline="white", width=3)
