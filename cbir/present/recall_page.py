"""The report of a retrieval benchmark as one self-contained HTML file.

Everything that it shows comes in as plain numbers, texts and paths; pictures are embedded small,
each counted, so that a page of any protocol stays of moderate size. No script, no request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cbir
from cbir.present.album import Album, AlbumPage, Picture, Shot
from cbir.present.names import visible
from cbir.present.numbers import count, number, percent, signed
from cbir.present.recall_plots import (
    Histogram,
    Line,
    precision_recall_plot,
    recall_plot,
    scores_plot,
)
from cbir.present.templating import render

_QUERY_SIDE = 240
_HIT_SIDE = 184


@dataclass(frozen=True, slots=True)
class Value:
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the summary: a metric of system and floor, and their paired difference."""

    name: str
    meaning: str
    system: Value
    floor: Value
    gain: Value


@dataclass(frozen=True, slots=True)
class ClassBar:
    """A class: its queries, recall@1 and mAP, and the floor's mAP (NaN: not known)."""

    label: str
    queries: int
    recall: Value
    ap: Value
    floor: float


@dataclass(frozen=True, slots=True)
class Case:
    """A query with its first hits; `later` is its first relevant image where that came after them.

    `first` is that image's rank, None where no relevant image was returned at all.
    """

    query: Shot
    hits: tuple[Shot, ...]
    later: Shot | None
    ap: float
    first: int | None
    relevant: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A class that is taken for another: an example, and how many of the class's queries are."""

    asked: Shot
    found: Shot
    count: int
    queries: int


@dataclass(frozen=True, slots=True)
class Curves:
    """What is drawn; `scores` is None where irrelevant scores were not kept."""

    recall: tuple[Line, Line]
    precision: tuple[Line, Line]
    scores: Histogram | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RecallReport:
    """All of a report. Lists that do not apply are empty; `..._of` says how many there are in all.

    `queries` counts those with a relevant image; `notes` are sentences on what is missing.
    """

    protocol: str
    system: str
    floor: str
    queries: int
    without_relevant: int
    gallery: int
    metrics: tuple[Metric, ...]
    about: tuple[tuple[str, str], ...]
    curves: Curves | None
    classes: tuple[ClassBar, ...]
    classes_of: int
    pairs: tuple[Pair, ...]
    pairs_of: int
    worst: tuple[Case, ...]
    best: tuple[Case, ...]
    notes: tuple[str, ...] = ()
    date: str = ""


@dataclass(frozen=True, slots=True)
class _CaseView:
    query: Picture
    hits: tuple[Picture, ...]
    later: Picture | None
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _PairView:
    asked: Picture
    found: Picture
    times: str


def recall_page(report: RecallReport) -> AlbumPage:
    """The whole page. Files that are missing or broken are shown as a grey stand-in."""
    album = Album()
    views = {
        "pairs": [_pair(pair, album) for pair in report.pairs],
        "worst": [_case(case, album) for case in report.worst],
        "best": [_case(case, album) for case in report.best],
    }
    html = render(
        "recall.html.j2",
        title=f"Retrieval benchmark: {visible(report.protocol)}",
        version=cbir.__version__,
        date=visible(report.date),
        report=report,
        facts=_facts(report),
        plots=_plots(report.curves),
        album=album,
        number=number,
        interval=interval_text,
        signed=signed_text,
        share=bar_length,
        visible=visible,
        **views,
    )
    return AlbumPage(html, album.embedded, len(album.missing))


def _facts(report: RecallReport) -> list[str]:
    facts = [count(report.queries, "query", "queries")]
    if report.without_relevant:
        facts.append(f"{report.without_relevant:,} more with nothing to find")
    return [*facts, f"{count(report.gallery, 'image')} in the gallery", visible(report.system)]


def _plots(curves: Curves | None) -> Mapping[str, str]:
    from markupsafe import Markup

    if curves is None:
        return {}
    drawn = {
        "recall": recall_plot(*curves.recall),
        "precision": precision_recall_plot(*curves.precision),
        "scores": "" if curves.scores is None else scores_plot(curves.scores),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}


def _case(case: Case, album: Album) -> _CaseView:
    right = sum(1 for hit in case.hits if hit.right)
    first = "no relevant image came"
    if case.first is not None:
        first = f"first right at rank {case.first:,}"
    facts = (f"AP {number(case.ap)}",
             f"{right} of the first {len(case.hits)} right" if case.hits else "",
             first, f"{case.relevant:,} relevant in the gallery")  # fmt: skip
    return _CaseView(
        album.picture(case.query, _QUERY_SIDE),
        tuple(album.picture(hit, _HIT_SIDE) for hit in case.hits),
        None if case.later is None else album.picture(case.later, _HIT_SIDE),
        tuple(fact for fact in facts if fact),
    )


def _pair(pair: Pair, album: Album) -> _PairView:
    share = percent(pair.count / pair.queries)
    times = f"{pair.count:,} of {count(pair.queries, 'query', 'queries')} ({share})"
    return _PairView(
        album.picture(pair.asked, _HIT_SIDE), album.picture(pair.found, _HIT_SIDE), times
    )


def interval_text(value: Value, sign: bool = False) -> str:
    """The ends of an interval: ".727 to .815"; it may break after "to"; "" where there is none."""
    if not math.isfinite(value.low) or not math.isfinite(value.high):
        return ""
    shown = signed_text if sign else number
    return f"{shown(value.low)}\u00a0to {shown(value.high)}"


def signed_text(value: float) -> str:
    """A difference as pages show it: "+.120", "−.034"."""
    return signed(value, "−")


def bar_length(value: float) -> str:
    """A length of a bar as a CSS percentage; 0% where there is no number."""
    return f"{min(1.0, max(0.0, value)):.1%}" if math.isfinite(value) else "0%"
