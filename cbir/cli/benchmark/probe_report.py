"""What `cbir benchmark probe` found, as text, JSON and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cbir.cli.benchmark.common import machine, pair
from cbir.present.numbers import number, signed

if TYPE_CHECKING:
    from cbir.evaluate import Cell, Probe


def as_text(found: Probe) -> str:
    """Tables for a terminal."""
    from cbir.present import columns

    blocks = [
        f"{found.name}: {', '.join(_facts(found))}\n",
        "Accuracy by training images a class (± half of the 95 % interval)\n"
        + columns(_header(found), _rows(found, "accuracy")),
        "Mean of the classes' accuracies\n" + columns(_header(found), _rows(found, "by_class")),
        "".join(f"{line}\n" for line in _headlines(found)),
        "".join(f"{line}\n" for line in _notes(found)),
    ]
    return "\n".join(block for block in blocks if block)


def as_json(found: Probe) -> str:
    """One JSON object."""
    from cbir.evaluate import matches

    rows = [
        {
            "embedder": cell.embedder, "head": cell.head, "per_class": cell.per_class or "all",
            "images": cell.images, "accuracy": round(cell.accuracy, 6),
            "by_class": round(cell.by_class, 6), "interval": pair(cell.interval),
            "spread": None if cell.spread != cell.spread else round(cell.spread, 6),
            "chosen": list(cell.chosen),
        }
        for cell in found.cells
    ]  # fmt: skip
    fewest = [
        {"embedder": m.stronger, "reaches": m.weaker,
         "per_class": m.few.per_class or "all", "least": m.least.per_class,
         "needs": None if m.needs is None else m.needs.per_class or "all"}
        for m in matches(found)
    ]  # fmt: skip
    whole = {
        "protocol": found.name, "train": found.train, "test": found.test,
        "classes": found.classes, "short": {str(k): v for k, v in found.short.items()},
        "untrained": found.untrained, "shared": found.shared, "failures": len(found.failures),
        "dims": dict(found.dims), "spec": found.spec.to_dict(), "results": rows,
        "fewest": fewest, "machine": machine(),
    }  # fmt: skip
    return json.dumps(whole, indent=2) + "\n"


def as_page(found: Probe) -> str:
    """The page with the plot."""
    from datetime import datetime

    from cbir.present.probe_page import Curve, Grid, ProbeReport, probe_page

    # Classes with fewer images give what they have: the mean of what was used is the place.
    at = {cell.per_class: cell.images / found.classes for cell in found.cells}
    embedders = list(dict.fromkeys(cell.embedder for cell in found.cells))
    heads = list(dict.fromkeys(cell.head for cell in found.cells))
    curves = [
        Curve(
            f"{embedder}, {_title(head)}", embedders.index(embedder), heads.index(head),
            tuple(sorted(
                (at[c.per_class], c.accuracy, *c.interval)
                for c in found.cells if (c.embedder, c.head) == (embedder, head)
            )),
        )
        for embedder in embedders for head in heads
    ]  # fmt: skip
    report = ProbeReport(
        title=f"How few labelled images do? {found.name}",
        facts=_facts(found),
        headlines=_headlines(found),
        curves=tuple(curves),
        ticks=_ticks(at),
        grids=(
            Grid("Accuracy by training images a class, ± half of the 95 % interval",
                 _header(found), tuple(_rows(found, "accuracy"))),
            Grid("Mean of the classes' accuracies", _header(found),
                 tuple(_rows(found, "by_class"))),
        ),
        notes=_notes(found),
        date=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip
    return probe_page(report)


def _ticks(at: Mapping[int, float]) -> tuple[tuple[float, str], ...]:
    """Places on the axis with their names; what lies too near for two names shares one."""
    made: list[tuple[float, str]] = []
    for size, place in sorted(at.items(), key=lambda item: (item[1], item[0] or math.inf)):
        name = str(size) if size else f"all ({place:.0f})"
        if made and place < 1.15 * made[-1][0]:
            made[-1] = made[-1][0], f"{made[-1][1]}, {name}"
        else:
            made.append((place, name))
    return tuple(made)


def _size(per_class: int) -> str:
    return str(per_class) if per_class else "all"


def _title(head: str) -> str:
    from cbir.evaluate.heads import TITLES

    return TITLES.get(head, head)


def _facts(found: Probe) -> tuple[str, ...]:
    from cbir.present import count

    return (
        count(found.train, "training image"), count(found.test, "test image"),
        count(found.classes, "class", "classes"), count(found.spec.draws, "draw"),
    )  # fmt: skip


def _notes(found: Probe) -> tuple[str, ...]:
    """What a reader must know to trust the numbers, as sentences."""
    from cbir.present import count

    notes = []
    for size, classes in found.short.items():
        notes.append(
            f"With {size} images a class, {count(classes, 'class has', 'classes have')} fewer than "
            "that, and give all they have."
        )
    if found.untrained:
        notes.append(
            f"{count(found.untrained, 'test image')} of classes without a training image: left out."
        )
    if found.shared:
        notes.append(
            f"{count(found.shared, 'test image')} also among the training images, byte for byte."
        )
    dims = ", ".join(f"{name} {length}-d" for name, length in found.dims.items())
    how = "" if found.spec.projection == "none" else ", after the projection where one was fitted"
    notes.append(f"Embeddings at unit length{how}: {dims}.")
    return tuple(notes)


def _rows(found: Probe, pick: str) -> list[tuple[str, ...]]:
    """A row for each embedder and head, a column for each number of images."""
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in found.cells:
        lines.setdefault((cell.embedder, cell.head), []).append(
            _with_interval(cell) if pick == "accuracy" else number(cell.by_class)
        )
    return [(embedder, _title(head), *row) for (embedder, head), row in lines.items()]


def _with_interval(cell: Cell) -> str:
    low, high = cell.interval
    return f"{number(cell.accuracy)} ±{number((high - low) / 2)}"


def _header(found: Probe) -> tuple[str, ...]:
    return ("embedder", "classifier", *map(_size, found.spec.per_class))


def _headlines(found: Probe) -> tuple[str, ...]:
    """How few images of one embedder do for many of another, as sentences."""
    from cbir.evaluate import difference, matches

    lines = []
    for match in matches(found):
        few, bar, least, needs = match.few, match.all, match.least, match.needs
        by, low, high = difference(few, bar)
        lines.append(
            f"{_said(few)} is at least as good as {_said(bar)}: {number(few.accuracy)} against "
            f"{number(bar.accuracy)}, {signed(by)} ({signed(low)} to {signed(high)})."
        )
        lines.append(
            f"For the {number(least.accuracy)} of {_said(least)}, {bar.embedder} needs "
            + (f"{_many(needs)} ({number(needs.accuracy)})." if needs else "more than there are.")
        )
    return tuple(lines)


def _said(cell: Cell) -> str:
    return f"{cell.embedder} with {_many(cell)} ({_title(cell.head)})"


def _many(cell: Cell) -> str:
    from cbir.present import count

    if not cell.per_class:
        return f"all {cell.images:,} images"
    return f"{count(cell.per_class, 'image')} a class"
