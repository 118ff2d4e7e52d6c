"""Learning curves as one self-contained page: accuracy over training images a class, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cbir
from cbir.present import plots
from cbir.present.names import visible
from cbir.present.templating import render

_STYLES = ("-o", "--s", ":^", "-.D")
"""Dashes and mark of a classifier: told apart without colour too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the plot.

    name    for the legend
    colour  number of its series (its embedder); `style` number of its dashes (its classifier)
    points  (images a class, accuracy, lower and upper end of the interval), rising
    """

    name: str
    colour: int
    style: int
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with a caption; the first two columns are names, the others numbers."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the page shows.

    ticks  (images a class, how the axis names it); notes are whole sentences
    """

    title: str
    facts: tuple[str, ...]
    headlines: tuple[str, ...]
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, str], ...]
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    date: str = ""


def probe_page(report: ProbeReport) -> str:
    """The whole page as HTML."""
    return render(
        "probe.html.j2",
        title=visible(report.title),
        version=cbir.__version__,
        date=visible(report.date),
        report=report,
        plot=_plot(report.curves, report.ticks),
        show=visible,
    )


def _plot(curves: Sequence[Curve], ticks: Sequence[tuple[float, str]]) -> str:
    """Accuracy over images a class on a logarithmic axis; the interval as a band."""
    from matplotlib.ticker import NullFormatter, NullLocator

    figure, (axes,) = plots.drawing(width=8.0, height=4.6)
    for curve in curves:
        x, y, low, high = zip(*curve.points, strict=True)
        colour = plots.series(curve.colour)
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(
            x, y, _STYLES[curve.style % len(_STYLES)], color=colour, markersize=4.5,
            linewidth=1.8, label=visible(curve.name),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([x for x, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(0, 1)
    axes.set_xlabel("training images a class (logarithmic)")
    axes.set_ylabel("accuracy on the test images")
    plots.legend(axes, "lower right" if _rises(curves) else "upper left")
    return plots.svg(figure, "Accuracy over training images a class: " + "; ".join(
        f"{curve.name}, {curve.points[0][1]:.2f} to {curve.points[-1][1]:.2f}" for curve in curves
    ))  # fmt: skip


def _rises(curves: Sequence[Curve]) -> bool:
    """Whether the room is below the curves' ends rather than above their beginnings."""
    return min(curve.points[-1][2] for curve in curves) > 0.45
