"""The report of a training as one self-contained page: before/after, curves, pictures, recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cbir
from cbir.present import plots
from cbir.present.album import Album, AlbumPage, Picture, Shot
from cbir.present.names import visible
from cbir.present.numbers import count, number
from cbir.present.recall_page import Value, interval_text, signed_text
from cbir.present.templating import render

_QUERY_SIDE = 240
_HIT_SIDE = 144
_STYLES = ("-", "--", ":")


@dataclass(frozen=True, slots=True)
class Change:
    """A metric before and after, and the paired difference with its interval."""

    name: str
    meaning: str
    before: float
    after: float
    gain: Value


@dataclass(frozen=True, slots=True)
class Check:
    """What was asked, and the metrics of the answers."""

    name: str
    metrics: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its first hits before and after, and its average precision both times."""

    query: Shot
    before: tuple[Shot, ...]
    after: tuple[Shot, ...]
    ap: tuple[float, float]


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What the page shows.

    tone     "good-news", "bad-news" or "": how the verdict is marked
    losses   one an epoch; `validation` metric → one an epoch; `best` the epoch that counts, from 1
    gained, lost  queries that changed most
    """

    title: str
    facts: tuple[str, ...]
    verdict: str
    tone: str
    checks: tuple[Check, ...]
    split: tuple[tuple[str, str], ...]
    losses: tuple[float, ...]
    validation: Mapping[str, Sequence[float]]
    best: int
    gained: tuple[Example, ...]
    lost: tuple[Example, ...]
    recipe: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    date: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the validation metrics, in the order of their lines."""
        return tuple(self.validation)


@dataclass(frozen=True, slots=True)
class _View:
    query: Picture
    before: tuple[Picture, ...]
    after: tuple[Picture, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    anchor: str
    name: str
    lead: str
    cases: tuple[_View, ...]


def training_page(report: TrainingReport) -> AlbumPage:
    """The whole page. Files that are missing or broken are shown as a grey stand-in."""
    album = Album()
    groups = [
        _Group("gained", "Gained most", "Queries whose average precision (AP) rose most.",
               tuple(_view(one, album) for one in report.gained)),
        _Group("lost", "Lost most", "Queries whose average precision (AP) fell most.",
               tuple(_view(one, album) for one in report.lost)),
    ]  # fmt: skip
    html = render(
        "training.html.j2",
        title=visible(report.title),
        version=cbir.__version__,
        date=visible(report.date),
        report=report,
        plots=_plots(report),
        groups=[group for group in groups if group.cases],
        album=album,
        number=number,
        interval=interval_text,
        signed=signed_text,
        visible=visible,
        count=count,
    )
    return AlbumPage(html, album.embedded, len(album.missing))


def _view(one: Example, album: Album) -> _View:
    first, second = one.ap
    return _View(
        album.picture(one.query, _QUERY_SIDE),
        tuple(album.picture(hit, _HIT_SIDE) for hit in one.before),
        tuple(album.picture(hit, _HIT_SIDE) for hit in one.after),
        (f"AP {number(first)} before", f"AP {number(second)} after"),
    )


def _plots(report: TrainingReport) -> Mapping[str, str]:
    from markupsafe import Markup

    if not report.losses:
        return {}
    made = {"loss": Markup(_lines({"loss": report.losses}, report.best, "loss", shares=False))}
    if report.validation:
        made["validation"] = Markup(_lines(report.validation, report.best, "metric", shares=True))
    return made


def _lines(series: Mapping[str, Sequence[float]], best: int, name: str, *, shares: bool) -> str:
    """Values over epochs as one `<svg>`; the best epoch marked by an upright line."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = plots.drawing(4.1, 2.9, text=11.5)
    for place, (label, values) in enumerate(series.items()):
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, _STYLES[place % len(_STYLES)], color=plots.series(place),
                  linewidth=2, marker="o", markersize=4, label=visible(label))  # fmt: skip
    axes.axvline(best, color=plots.soft(), linewidth=1.2, linestyle=(0, (4, 2)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    if shares:
        axes.set_ylim(max(0.0, min(min(v) for v in series.values()) - 0.05), 1)
    else:
        axes.set_ylim(bottom=0)
    said = "; ".join(f"{label} {v[0]:.3f} to {v[-1]:.3f}" for label, v in series.items())
    return plots.svg(figure, f"Over {len(next(iter(series.values())))} epochs: {said}")
