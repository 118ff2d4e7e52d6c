"""A comparison of systems as one self-contained page: quality over speed, intervals, the table.

Each plot is drawn twice, for wide windows and for phones, and the style sheet shows one of them, so
that its letters have a size that can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cbir
from cbir.present import plots
from cbir.present.labels import Box, Point, place_labels
from cbir.present.names import visible
from cbir.present.templating import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "oDs^vPX"
"""Shapes for groups beyond the first eight, whose colours come again."""
_LETTER = 0.56
"""Width of a letter, in parts of its height: wide enough for the fonts of pages."""
_LABEL = 8.5
_LETTERS = {True: 44, False: 36}
"""Letters of a name in a wide plot, and in a narrow one, at most."""
_WIDTHS = {True: 7.0, False: 3.4}
"""Inches; a narrow one is shown no smaller than that on a phone of 320 pixels."""


@dataclass(frozen=True, slots=True)
class ComparedSystem:
    """One row: `group` gives its colour; `cells` are the table's after the name, each a text and a
    smaller one below it.

    quality, low and high are the metric and its interval; NaN where there is none, as with
    images_per_second. `front`: on the Pareto front; `line`: on its line of quality over speed;
    `drawn`: in the plots (a floor far below would press all others together).
    """

    name: str
    group: str
    quality: float
    low: float
    high: float
    images_per_second: float
    bytes_per_image: int
    cells: tuple[tuple[str, str], ...]
    front: bool = False
    line: bool = False
    baseline: bool = False
    drawn: bool = True


@dataclass(frozen=True, slots=True)
class ComparePage:
    """What a page says. `header` names the cells of the systems, which come best first."""

    title: str
    by: str
    facts: tuple[str, ...]
    header: tuple[str, ...]
    systems: tuple[ComparedSystem, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    date: str = ""


def compare_page(page: ComparePage) -> str:
    """The whole page, every text escaped; plots are left out where no system can be drawn."""
    page = _shown(page)
    numbered = list(enumerate(page.systems, start=1))
    drawn = [(i, s) for i, s in numbered if s.drawn and not math.isnan(s.quality)]
    timed = [(i, s) for i, s in drawn if s.images_per_second > 0]
    return render(
        "compare.html.j2",
        title=page.title,
        version=cbir.__version__,
        date=page.date,
        page=page,
        left_out=[f"{number} {system.name}" for number, system in numbered if not system.drawn],
        scatters=[_scatter(timed, page.by, wide) for wide in (True, False)] if timed else [],
        intervals=[_intervals(drawn, page.by, wide) for wide in (True, False)] if drawn else [],
    )


def _shown(page: ComparePage) -> ComparePage:
    """Every text from outside made visible: names of embedders may be those of folders."""
    return replace(
        page,
        title=visible(page.title),
        date=visible(page.date),
        facts=tuple(map(visible, page.facts)),
        systems=tuple(
            replace(one, name=visible(one.name), group=visible(one.group)) for one in page.systems
        ),
        notes=tuple(map(visible, page.notes)),
        problems=tuple((visible(name), visible(reason)) for name, reason in page.problems),
    )


Numbered = Sequence[tuple[int, ComparedSystem]]


def _colours(systems: Numbered) -> dict[str, dict[str, Any]]:
    """How the points of each group look; groups by their best system."""
    groups = dict.fromkeys(system.group for _, system in systems)
    return {
        group: {"color": plots.series(i), "marker": _MARKERS[i // plots.SERIES % len(_MARKERS)]}
        for i, group in enumerate(groups)
    }


def _scatter(systems: Numbered, by: str, wide: bool) -> str:
    """Quality over images/s; areas are bytes an image; numbers are those of the table."""
    figure, (axes,) = plots.drawing(_WIDTHS[wide], 5.2 if wide else 4.4)
    looks = _colours(systems)
    most = max(system.bytes_per_image for _, system in systems)
    sizes = [16 + 200 * system.bytes_per_image / most for _, system in systems]
    for (_, system), size in zip(systems, sizes, strict=True):
        look = looks[system.group]
        face = look["color"] if system.front else "none"
        axes.scatter([system.images_per_second], [system.quality], size, marker=look["marker"],
                     facecolors=face, edgecolors=look["color"], linewidths=1.3, alpha=0.85,
                     zorder=3)  # fmt: skip
    line = sorted((s.images_per_second, s.quality) for _, s in systems if s.line)
    axes.plot([x for x, _ in line], [y for _, y in line], color=plots.soft(), linewidth=1.2,
              linestyle="--", zorder=2)  # fmt: skip
    axes.set_xlabel("images/s, embedding (more is faster)")
    axes.set_ylabel(by)
    _speed_axis(axes, [system.images_per_second for _, system in systems])
    axes.margins(x=0.12, y=0.08)
    for group, look in looks.items():
        axes.plot(
            [],
            [],
            linestyle="",
            color=look["color"],
            marker=look["marker"],
            label=_short(group, _LETTERS[wide]),
        )
    _below(axes)
    _label(figure, axes, systems, sizes)
    return plots.svg(figure, f"{by} over images per second, {'wide' if wide else 'narrow'}")


def _below(axes: Axes) -> None:
    """The legend under the axes, where it hides no point."""
    plots.legend(axes, "upper center")
    made = axes.get_legend()
    if made is not None:
        made.set_bbox_to_anchor((0.5, -0.12))


def _speed_axis(axes: Axes, speeds: Sequence[float]) -> None:
    """A scale by factors where speeds differ by a lot; ticks at 1, 2, 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    low, high = min(speeds), max(speeds)
    if high < 3 * low:
        return
    axes.set_xscale("log")
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = [n * 10.0**p for p in powers for n in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(figure: Figure, axes: Axes, systems: Numbered, sizes: Sequence[float]) -> None:
    """The number of each system beside its point: first those on the front and the baseline."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(72)  # then a pixel is a point, the unit of letters
    FigureCanvasAgg(figure).draw()  # the layout: only now it is known where a point lies
    figure.set_layout_engine("none")
    at = axes.transData.transform([(s.images_per_second, s.quality) for _, s in systems])
    frame = axes.get_window_extent()
    order = sorted(range(len(systems)), key=lambda i: (not systems[i][1].baseline,
                                                       not systems[i][1].front))  # fmt: skip
    texts = [str(systems[i][0]) for i in order]
    points = [
        Point(at[i][0], at[i][1], math.sqrt(sizes[i]) / 2, _LETTER * _LABEL * len(text) + 2,
              _LABEL + 1)
        for i, text in zip(order, texts, strict=True)
    ]  # fmt: skip
    boxes = place_labels(points, Box(frame.x0, frame.y0, frame.x1, frame.y1))
    for i, text, point, box in zip(order, texts, points, boxes, strict=True):
        if box is None:
            continue
        system = systems[i][1]
        x, y = (box.left + box.right) / 2, (box.low + box.high) / 2
        strong = system.front or system.baseline
        place = axes.transData.inverted().transform((x, y))
        axes.annotate(text, (float(place[0]), float(place[1])), ha="center", va="center",
                      fontsize=_LABEL, color=plots.ink() if strong else plots.soft(),
                      fontweight="bold" if strong else "normal", zorder=4,
                      annotation_clip=False)  # fmt: skip
        if math.hypot(x - point.x, y - point.y) > point.radius + 16:
            axes.plot([system.images_per_second, float(place[0])],
                      [system.quality, float(place[1])], color=plots.soft(), linewidth=0.5,
                      zorder=1)  # fmt: skip


def _short(name: str, most: int) -> str:
    """A name that leaves room for the plot; the table has it whole."""
    return name if len(name) <= most else f"{name[: most - 8]}…{name[-7:]}"


def _intervals(systems: Numbered, by: str, wide: bool) -> str:
    """A dot and its interval for each system, best first; a line at the baseline."""
    step = 0.24 if wide else 0.36
    figure, (axes,) = plots.drawing(_WIDTHS[wide], 0.8 + step * len(systems))
    looks = _colours(systems)
    names = [f"{number} · {_short(system.name, _LETTERS[wide])}" for number, system in systems]
    for place, (_, system) in enumerate(systems):
        look = looks[system.group]
        if not math.isnan(system.low):
            axes.plot([system.low, system.high], [place, place], color=look["color"],
                      linewidth=2.2, solid_capstyle="round", alpha=0.55)  # fmt: skip
        axes.plot([system.quality], [place], color=look["color"], marker=look["marker"],
                  markersize=5.5, linestyle="",
                  markerfacecolor=look["color"] if system.front else "none")  # fmt: skip
        if system.baseline:
            axes.axvline(system.quality, color=plots.soft(), linewidth=1, linestyle="--")
        if not wide:
            axes.text(0.0, place - 0.42, names[place], fontsize=8.5,
                      color=plots.ink(), va="center",
                      transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yticks(range(len(systems)), names if wide else [""] * len(systems))
    for text in axes.get_yticklabels():
        text.set_color(plots.ink())
    axes.grid(False, axis="y")
    axes.set_ylim(len(systems) - 0.4, -0.6 if wide else -0.9)
    axes.set_xlabel(f"{by}, 95 % interval")
    return plots.svg(figure, f"{by} of each system, {'wide' if wide else 'narrow'}")
