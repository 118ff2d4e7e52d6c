"""Plots: valid markup, the page's colours, the same text every time."""

from __future__ import annotations

import xml.etree.ElementTree as tree

from cbir.present import plots


def picture(label: str = "two lines") -> str:
    figure, (axes,) = plots.drawing()
    axes.plot([0, 1, 2], [0, 1, 4], color=plots.series(0), label="kurta & <pants>")
    axes.plot([0, 1, 2], [0, 2, 2], color=plots.series(plots.SERIES + 1), label="soft")
    axes.text(1, 1, "here", color=plots.ink())
    axes.axhline(1, color=plots.soft())
    plots.legend(axes)
    return plots.svg(figure, label)


def test_text_is_text_and_colours_are_the_pages() -> None:
    drawn = picture("a <b> & c")
    found = tree.fromstring(drawn)
    assert found.get("role") == "img" and found.get("aria-label") == "a <b> & c"
    texts = [one.text for one in found.iter("text")]
    assert "kurta & <pants>" in texts and "here" in texts
    for name in ("--series-1", "--series-2", "--ink", "--soft", "--line", "--surface"):
        assert f"var({name})" in drawn
    assert "#0" not in drawn and "font-family" not in drawn and "<style" not in drawn


def test_the_same_drawing_gives_the_same_text_and_clips_of_two_pictures_differ() -> None:
    assert picture() == picture()
    first, second = (
        {part.get("id") for part in tree.fromstring(picture(name)).iter("clipPath")}
        for name in ("one", "two")
    )
    assert first and second and not first & second


def test_axes_row_by_row() -> None:
    figure, axes = plots.drawing(rows=2, columns=3)
    assert len(axes) == 6 == len(figure.axes)
