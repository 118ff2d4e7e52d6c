"""Plots as SVG inside a page: text stays text, colours are the page's own, light or dark.

Drawn by Matplotlib without its global state. A plot is made of `drawing`, then turned into an
`<svg>` element by `svg`; the colours are style sheet variables (base.css), so that one picture
serves a light page, a dark one and paper.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = 8
"""How many series can be told apart by colour; beyond that `series` starts again."""

# Stand-ins that Matplotlib draws with; each becomes a variable of the page.
_INK, _SOFT, _LINE, _SURFACE = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _LINE: "--line", _SURFACE: "--surface"} | {
    f"#0505{i:02d}": f"--series-{i}" for i in range(1, SERIES + 1)
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While it is imported, Matplotlib remarks on folders that it cannot write, and on fonts."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def series(number: int) -> str:
    """The colour of a series, from 0; to be given to Matplotlib as it is."""
    return f"#0505{number % SERIES + 1:02d}"


def soft() -> str:
    """The colour of what stands back: reference lines, notes."""
    return _SOFT


def ink() -> str:
    """The colour of text and of what must be seen."""
    return _INK


def drawing(
    width: float = 6.0, height: float = 3.6, rows: int = 1, columns: int = 1, text: float = 9.5
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes row by row: grid behind, no box around.

    text: size of the axes' names in points; a page shows it larger or smaller, as it does the
    figure: at width 6.0, 432 points, it is 9.5 pixels high where the figure is 432 pixels wide.
    """
    with _quiet():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for one in axes:
        one.set_facecolor("none")
        one.grid(True, color=_LINE, linewidth=0.8)
        one.set_axisbelow(True)
        one.tick_params(colors=_SOFT, labelsize=text - 0.5, length=0)
        for side in one.spines.values():
            side.set_color(_LINE)
        for hidden in ("top", "right"):
            one.spines[hidden].set_visible(False)
        for name in (one.xaxis.label, one.yaxis.label):
            name.set_color(_SOFT)
            name.set_fontsize(text)
        one.title.set_color(_INK)
        one.title.set_fontsize(text + 1)
    return figure, axes


def legend(axes: Axes, where: str = "best") -> None:
    """A legend of the labelled series, on the page's own ground."""
    made = axes.legend(loc=where, fontsize=9, frameon=True, framealpha=0.9)
    made.get_frame().set(facecolor=_SURFACE, edgecolor=_LINE)
    for text in made.get_texts():
        text.set_color(_INK)


def svg(figure: Figure, label: str) -> str:
    """The figure as one `<svg>` element for a page; `label` says to a screen reader what it shows.

    The same drawing gives the same text, always: no dates, no random names.
    """
    import matplotlib
    from markupsafe import escape

    out = io.StringIO()
    options = {"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}
    with matplotlib.rc_context(options):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r" font-family: [^;]*;", "", text)  # the page's own
    text = text.replace("xlink:href", "href")  # SVG 2: needs no other namespace
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var({name})")
    view = re.search(r'viewBox="([^"]+)"', text)
    size = view[1] if view else "0 0 1 1"
    body = text[text.index(">") + 1 :]
    return f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="{size}">{body}'
