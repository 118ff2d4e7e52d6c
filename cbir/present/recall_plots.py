"""The plots of a benchmark's report: recall@k, precision-recall, scores of right and wrong pairs.

Small figures with large text: as wide as a phone they can still be read. Their legends are part of
the page, not of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbir.present import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = NDArray[np.float64]

_SIZE = (4.1, 2.9)  # inches: 295 points, about as many pixels as a phone has for it
_TEXT = 11.5
_TICKS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A curve: x and y, float64 (n,), and the ends of its band, empty where it has none."""

    name: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Shares of relevant and of irrelevant pairs, float64 (n,), in equal bins over [-1, 1].

    `threshold` is the score of equal error; NaN where there is none.
    """

    relevant: Floats
    irrelevant: Floats
    threshold: float


def recall_plot(system: Line, floor: Line) -> str:
    """Recall@k over k as one `<svg>`: the system with its band, the floor dashed."""
    figure, axes = _axes("k (first hits looked at)", "recall@k")
    for line, main in ((floor, False), (system, True)):
        _curve(axes, line, main)
    last = max(len(system.x), len(floor.x), 2)
    ticks = [tick for tick in _TICKS if tick <= last]
    if last > 4:
        axes.set_xscale("log")
    axes.set_xlim(1, last)
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    _shares(axes)
    return plots.svg(figure, _said("Recall at k", "k", (system, floor), (1, 5, 10, 100)))


def precision_recall_plot(system: Line, floor: Line) -> str:
    """Interpolated precision over recall as one `<svg>`, dots at the eleven levels."""
    figure, axes = _axes("recall", "precision")
    for line, main in ((floor, False), (system, True)):
        _curve(axes, line, main)
        if main and len(line.y) == 101:
            axes.plot(line.x[::10], line.y[::10], "o", color=plots.series(0), markersize=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", ".25", ".5", ".75", "1"])
    _shares(axes)
    return plots.svg(figure, _said("Precision over recall", "recall", (system, floor), (0, 0.5, 1)))


def scores_plot(shown: Histogram) -> str:
    """Both histograms as one `<svg>`, cut to the scores that occur; the threshold dashed."""
    figure, axes = _axes("score (cosine)", "share of pairs")
    edges = np.linspace(-1, 1, len(shown.relevant) + 1)
    for values, colour, style in (
        (shown.irrelevant, plots.series(1), (0, (4, 1.5))),
        (shown.relevant, plots.series(2), "solid"),
    ):
        axes.stairs(values, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
        axes.stairs(values, edges, color=colour, linewidth=1.8, linestyle=style)
    used = np.flatnonzero(np.maximum(shown.relevant, shown.irrelevant) > 5e-4)
    if len(used):
        axes.set_xlim(edges[max(used[0] - 1, 0)], edges[min(used[-1] + 2, len(edges) - 1)])
    if np.isfinite(shown.threshold):
        axes.axvline(shown.threshold, color=plots.ink(), linewidth=1.2, linestyle=(0, (2, 2)))
    axes.set_ylim(0)
    axes.locator_params(axis="x", nbins=6, steps=[1, 2, 2.5, 5, 10])
    axes.locator_params(axis="y", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    said = "Scores of relevant and of irrelevant pairs"
    if np.isfinite(shown.threshold):
        said += f"; equal error at {shown.threshold:.3f}"
    return plots.svg(figure, said)


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure, (axes,) = plots.drawing(*_SIZE, text=_TEXT)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _curve(axes: Axes, line: Line, main: bool) -> None:
    colour = plots.series(0) if main else plots.soft()
    if len(line.low):
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    style = "solid" if main else (0, (4, 2))
    axes.plot(line.x, line.y, color=colour, linewidth=2.2 if main else 1.8, linestyle=style)


def _shares(axes: Axes) -> None:
    """An upright axis from 0 to 1."""
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", ".25", ".5", ".75", "1"])


def _short(value: float) -> str:
    """A tick's number without its leading zero: "−.25"."""
    return f"{round(value, 6) + 0.0:g}".replace("0.", ".").replace("-", "−")


def _said(title: str, axis: str, lines: tuple[Line, ...], at: tuple[float, ...]) -> str:
    """What a screen reader says of curves: their values at some places."""
    parts = []
    for line in lines:
        values = [f"{line.y[i]:.3f} at {axis} {x:g}" for x in at
                  for i in np.flatnonzero(np.isclose(line.x, x))]  # fmt: skip
        parts.append(f"{line.name} {', '.join(values) or 'nothing'}")
    return f"{title}: {'; '.join(parts)}"
