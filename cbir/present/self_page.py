"""The report of self-made queries as one self-contained HTML file: a failure profile, examples.

Everything comes in as plain numbers, texts and paths. The edited pictures are made again from
their sources, by the edits' names. No script, no request.
"""

from __future__ import annotations

from dataclasses import dataclass

import cbir
from cbir.errors import ImageError
from cbir.images.decode import DecodeOptions, decode
from cbir.images.edits import EDITS
from cbir.present.album import Album, AlbumPage, Picture, Shot
from cbir.present.names import visible
from cbir.present.numbers import count, number
from cbir.present.recall_page import Value, bar_length
from cbir.present.templating import render
from cbir.present.thumbnails import UNREADABLE, Preview, jpeg, preview, stand_in, to_data_uri

_SIDE = 224


@dataclass(frozen=True, slots=True)
class EditBar:
    """One edit, or all of a kind: recall@1 with its interval, @5, @10, and the floor's @1 (NaN)."""

    name: str
    recall: Value
    recall_5: float
    recall_10: float
    floor: float


@dataclass(frozen=True, slots=True)
class Miss:
    """An edited picture that did not find its source first: the source, the wrong first hit.

    `rank` is the source's among the first ten hits, 0 where it is not there.
    """

    source: str
    found: str
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Example:
    """An edit with some of its misses, of `misses` in all."""

    edit: EditBar
    shown: tuple[Miss, ...]
    misses: int


@dataclass(frozen=True, slots=True)
class SelfPageReport:
    """All that the page shows. `side`: how large pictures were decoded for their edits."""

    gallery: str
    system: str
    facts: tuple[str, ...]
    every: EditBar
    kinds: tuple[tuple[EditBar, tuple[EditBar, ...]], ...]
    examples: tuple[Example, ...]
    about: tuple[tuple[str, str], ...]
    side: int
    date: str = ""


@dataclass(frozen=True, slots=True)
class _MissView:
    query: Picture
    source: Picture
    found: Picture
    words: str


def self_page(report: SelfPageReport) -> AlbumPage:
    """The whole page. Files that are missing or broken are shown as a grey stand-in."""
    album = Album()
    examples = [
        (example, [_view(example.edit.name, miss, report.side, album) for miss in example.shown])
        for example in report.examples
    ]
    edited = sum(len(views) for _, views in examples)
    html = render(
        "self_queries.html.j2",
        title=f"Self-made queries: {visible(report.gallery)}",
        version=cbir.__version__,
        date=visible(report.date),
        report=report,
        examples=examples,
        pictures=count(album.embedded + edited, "picture"),
        missing=len(album.missing),
        count=count,
        number=number,
        share=bar_length,
        visible=visible,
    )
    return AlbumPage(html, album.embedded + edited, len(album.missing))


def _view(edit: str, miss: Miss, side: int, album: Album) -> _MissView:
    source = album.picture(Shot(miss.source), _SIDE)
    found = album.picture(Shot(miss.found, score=miss.score, right=False), _SIDE)
    made = _edited(miss.source, edit, side)
    query = Picture(
        to_data_uri(jpeg(made.image)), made.image.width, made.image.height, source.name,
        source.path, None, made.problem, Shot(miss.source),
    )  # fmt: skip
    words = f"source at rank {miss.rank}" if miss.rank else "source not among the first ten"
    return _MissView(query, source, found, words)


def _edited(path: str, edit: str, side: int) -> Preview:
    """The picture as it was asked: decoded as then, edited, made small."""
    if edit not in EDITS:
        return stand_in("an edit of another cbir", _SIDE)
    try:
        return preview(EDITS[edit](decode(path, DecodeOptions(side)).pixels), _SIDE)
    except ImageError as error:
        return stand_in(UNREADABLE, _SIDE, error.reason)
