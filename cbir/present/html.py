"""Rankings as one self-contained HTML file: nothing to fetch, nothing to run, nothing to install.

Thumbnails are part of the page as `data:` addresses; the page has no script, and its own content
security policy forbids scripts and requests. Links lead to the pictures' files on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

import cbir
from cbir.present.files import write_whole
from cbir.present.names import file_url, query_name, visible
from cbir.present.numbers import count, human_duration, human_size, percent, score_text
from cbir.present.templating import render
from cbir.present.thumbnails import Preview, data_uri, jpeg, preview, to_data_uri
from cbir.types import Hit, Ranking

_NAVIGATION_SIDE = 96
_SHOWN_METADATA = 4  # of a card; the others unfold


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a page of rankings looks like.

    title       heading of the page
    date        when it was made, as the reader shall see it; left out where empty
    query_side  largest side of a query's picture, pixels
    hit_side    largest side of a hit's picture, pixels
    """

    title: str = "Image search"
    date: str = ""
    query_side: int = 640
    hit_side: int = 360


@dataclass(frozen=True, slots=True)
class _Picture:
    """One embedded picture; `facts` are size, format and file size, or what is wrong."""

    uri: str
    width: int
    height: int
    name: str
    folder: str
    path: str
    url: str | None
    facts: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Card:
    rank: int
    picture: _Picture
    score: str
    share: str  # length of the score's bar, a CSS percentage
    match: str | None
    identical: bool
    metadata: tuple[tuple[str, str], ...]
    more: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Section:
    anchor: str
    name: str
    query: str
    index: str
    hits: str
    took: str
    pictures: tuple[_Picture, ...]
    icon: str | None
    cards: tuple[_Card, ...]
    nothing: tuple[str, str]  # heading and text where there are no cards


def page(rankings: Iterable[Ranking], options: PageOptions | None = None) -> str:
    """The whole page: per query its picture and facts, and its hits as cards, best first.

    Files that are missing or broken are shown as a grey stand-in. Raises UsageError where a side
    of the options is outside 16 to 4096 pixels.
    """
    options = options or PageOptions()
    sections = [_section(i, ranking, options) for i, ranking in enumerate(rankings, start=1)]
    hits = sum(len(section.cards) for section in sections)
    indexes = dict.fromkeys(section.index for section in sections)
    facts = [count(len(sections), "query", "queries"), count(hits, "hit")]
    return render(
        "ranking.html.j2",
        title=visible(options.title),
        version=cbir.__version__,
        date=visible(options.date),
        index=", ".join(indexes),
        facts=facts,
        sections=sections,
    )


def write_page(path: str | os.PathLike[str], html: str) -> None:
    """Write the page as UTF-8; the file is either whole or as it was before.

    Raises UsageError where the folder is missing, OperationFailedError where writing fails.
    """
    write_whole(path, html.encode("utf-8"))


def _section(number: int, ranking: Ranking, options: PageOptions) -> _Section:
    previews = [preview(file, options.query_side) for file in ranking.files]
    icon = data_uri(np.asarray(previews[0].image), _NAVIGATION_SIDE) if previews else None
    return _Section(
        anchor=f"query-{number}",
        name=query_name(ranking),
        query=visible(ranking.query),
        index=visible(ranking.index),
        hits=count(len(ranking.hits), "hit"),
        took=human_duration(ranking.took_ms / 1000),
        pictures=tuple(map(_picture, ranking.files, previews)),
        icon=icon,
        cards=tuple(_card(hit, options.hit_side) for hit in ranking.hits),
        nothing=_nothing(ranking),
    )


def _nothing(ranking: Ranking) -> tuple[str, str]:
    near = ranking.nearest
    if not ranking.no_match or near is None or near.match is None or ranking.min_match is None:
        return "No hits", "Nothing in the index passed this query's conditions."
    return (
        f"No match in this gallery at {percent(ranking.min_match)} or above",
        f"The nearest is {visible(os.path.basename(near.path))}, with a match of "
        f"{percent(near.match)} and a score of {score_text(near.score)}.",
    )


def _card(hit: Hit, side: int) -> _Card:
    metadata = tuple((visible(key), visible(value)) for key, value in hit.metadata.items())
    shown = _SHOWN_METADATA if len(metadata) > _SHOWN_METADATA + 1 else len(metadata)
    return _Card(
        rank=hit.rank,
        picture=_picture(hit.path, preview(hit.path, side)),
        score=score_text(hit.score),
        share=f"{min(1.0, max(0.0, float(hit.score))):.1%}" if hit.score > 0 else "0%",
        match=None if hit.match is None else percent(hit.match),
        identical=hit.identical,
        metadata=metadata[:shown],
        more=metadata[shown:],
    )


def _picture(path: str, small: Preview) -> _Picture:
    folder, name = os.path.split(path)
    return _Picture(
        uri=to_data_uri(jpeg(small.image)),
        width=small.image.width,
        height=small.image.height,
        name=visible(name or path),
        folder=visible(os.path.basename(folder)),
        path=visible(path),
        url=file_url(path),
        facts=_facts(small, path),
        problem=small.problem,
    )


def _facts(small: Preview, path: str) -> tuple[str, ...]:
    if small.problem is not None:
        return tuple(text for text in (small.problem, visible(small.detail)) if text)
    try:
        size = human_size(os.path.getsize(path))
    except OSError:  # it went away while the page was made
        size = ""
    facts = (f"{small.width} × {small.height}", small.format, size)
    return tuple(text for text in facts if text)
