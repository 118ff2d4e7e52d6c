"""What the command line shows to people: tables and blocks of plain text.

Every function returns whole lines: the text ends with a line break, unless it is empty. All names
pass through `names.visible`, so that no file name can write to the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from cbir.present.names import display_width, pad, short_path, visible
from cbir.present.numbers import count, human_duration, percent, score_text
from cbir.types import Failure, Hit, Ranking

Cell: TypeAlias = str | int | float | bool | None

_LINE = 80  # columns of a terminal that everything but long names is made for
_GAP = "  "
_WIDEST_PATH = 44  # of the failure table's path column; longer paths get a line of their own


def table(rankings: Iterable[Ranking], base: str | None = None) -> str:
    """One block a query: a heading, then rank, score, match, mark and path of every hit.

    The match column is there where a hit of this query has one, the mark column where a hit is
    `identical`. Paths come last and are never cut; they are relative to the folder `base` (default:
    the current one) where that is shorter.
    """
    return "\n".join(_block(ranking, base) for ranking in rankings)


def _block(ranking: Ranking, base: str | None) -> str:
    query = visible(ranking.query)
    index = visible(short_path(ranking.index, base))
    facts = (index, count(len(ranking.hits), "hit"), human_duration(ranking.took_ms / 1000))
    heading = _GAP.join((query, *facts))
    if display_width(heading) > _LINE:
        heading = query + "\n" + _GAP + _GAP.join(facts)
    if not ranking.hits:
        return f"{heading}\n{_GAP}{nothing_found(ranking, base)}\n"
    lines = _hit_lines(ranking.hits, base)
    return heading + "\n" + "".join(f"{line}\n" for line in lines)


def nothing_found(ranking: Ranking, base: str | None = None) -> str:
    """What a ranking without hits says: "no hits", or that nothing in the gallery matches."""
    if not ranking.no_match or ranking.nearest is None or ranking.nearest.match is None:
        return "no hits"
    nearest = ranking.nearest
    assert nearest.match is not None and ranking.min_match is not None
    return (
        f"no match in this gallery at {percent(ranking.min_match)} or above; nearest: "
        f"{visible(short_path(nearest.path, base))}, match {percent(nearest.match)}, score "
        f"{score_text(nearest.score)}"
    )


def _hit_lines(hits: Sequence[Hit], base: str | None) -> list[str]:
    header: list[str] = ["rank", "score"]
    parts: list[list[str]] = [[str(h.rank) for h in hits], [score_text(h.score) for h in hits]]
    if any(hit.match is not None for hit in hits):
        header.append("match")
        parts.append(["-" if h.match is None else percent(h.match) for h in hits])
    right = [True] * len(parts)
    if any(hit.identical for hit in hits):
        header.append("")
        parts.append(["identical" if hit.identical else "" for hit in hits])
        right.append(False)
    header.append("path")
    parts.append([visible(short_path(hit.path, base)) for hit in hits])
    return _aligned([header, *map(list, zip(*parts, strict=True))], [*right, False])


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            pad(cell, width, side) for cell, width, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def columns(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table with one heading line; columns that hold only numbers are aligned to the right.

    A cell is a text, a number, a bool (`yes`, `no`) or None (`-`). Floats are shown with three
    decimals, integers with thousands separators; give a text for anything else. Every row must be
    as long as the header (ValueError).
    """
    cells = [list(row) for row in rows]
    numeric = [
        any(_is_number(cell) for cell in column)
        and all(cell is None or _is_number(cell) for cell in column)
        for column in zip(*cells, strict=True)
    ] or [False] * len(header)
    lines = _aligned([list(map(visible, header)), *(list(map(_shown, r)) for r in cells)], numeric)
    return "".join(f"{line}\n" for line in lines)


def pairs(title: str, rows: Iterable[tuple[str, Cell]]) -> str:
    """A title line, then indented keys with their values in one column (cells as in `columns`)."""
    cells = [(visible(key), _shown(value)) for key, value in rows]
    width = max((display_width(key) for key, _ in cells), default=0)
    lines = [f"{_GAP}{pad(key, width)}{_GAP}{value}".rstrip() for key, value in cells]
    return "".join(f"{line}\n" for line in [visible(title), *lines])


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _shown(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return score_text(cell)
    return visible(cell)


def failures_table(
    failures: Sequence[Failure], limit: int | None = 20, base: str | None = None
) -> str:
    """Path and reason of the first `limit` failures (None: of all), then `... and N more`.

    The reason stands beside the path, or below it where the path is long. Empty without failures.
    """
    shown = failures if limit is None else failures[: max(0, limit)]
    rows = [(visible(short_path(f.path, base)), visible(f.reason)) for f in shown]
    beside = [display_width(path) for path, _ in rows if display_width(path) <= _WIDEST_PATH]
    width = max(beside, default=0)
    lines = [
        f"{pad(path, width)}{_GAP}{reason}".rstrip()
        if display_width(path) <= width
        else f"{path}\n{_GAP * 2}{reason}"
        for path, reason in rows
    ]
    if len(failures) > len(shown):
        lines.append(f"... and {len(failures) - len(shown):,} more")
    return "".join(f"{line}\n" for line in lines)
