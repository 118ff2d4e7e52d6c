"""The table of a comparison: rows with differences to a baseline, ordered, the front marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cbir.config import EmbedderSpec, IndexSpec
from cbir.evaluate.grid import Candidate
from cbir.evaluate.metrics import paired_difference
from cbir.evaluate.pareto import pareto_front
from cbir.evaluate.protocol import Summary
from cbir.types import Failure


@dataclass(frozen=True, slots=True)
class Problem:
    """An embedder that could not be measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One system, measured.

    `values` has one value a query for the metric that rows are ordered by, by the query's picture;
    `difference` is to the baseline: mean, and its paired 95 % interval (None: it is the baseline).
    images_per_second: embedding, decoding included; alone_ms: one picture, decoded and embedded;
    search_ms: one search for 10 hits. NaN where it could not be measured. bytes_per_image: in the
    index file; feature_bytes: in the catalog. `front`: no other system is better in one of
    quality, images/s and bytes, and as good in the others.
    """

    system: str
    candidate: Candidate
    spec: IndexSpec
    about: Mapping[str, Any]
    summary: Summary
    values: Mapping[int, float]
    images_per_second: float
    alone_ms: float
    search_ms: float
    bytes_per_image: int
    feature_bytes: int
    difference: tuple[float, float, float] | None = None
    front: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows by falling quality; ties by name."""

    protocol: str
    by: str
    baseline: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    failures: tuple[Failure, ...]
    fitted: bool
    machine: Mapping[str, Any]
    timed_on: int


def ordered(
    rows: Sequence[Row], by: str, baseline: str | None = None
) -> tuple[tuple[Row, ...], str]:
    """Rows with differences and front, by falling quality and then by name; the baseline's name.

    `baseline` None: the default system where it is among the rows, else the first row; a name that
    no row has: no row has a difference.
    """
    base = _baseline(rows, baseline)
    front = pareto_front(
        [(r.summary.metrics[by], r.images_per_second, float(r.bytes_per_image)) for r in rows]
    )
    made = [
        replace(row, front=on, difference=None if row is base else _difference(base, row))
        for row, on in zip(rows, front, strict=True)
    ]
    made.sort(key=lambda row: (_falling(row.summary.metrics[by]), row.system))
    return tuple(made), base.system if base else ""


def _baseline(rows: Sequence[Row], name: str | None) -> Row | None:
    if name is not None:
        return next((row for row in rows if row.system == name), None)
    usual = (
        row
        for row in rows
        if row.candidate.spec == EmbedderSpec() and row.spec == IndexSpec(kind="flat")
    )
    return next(usual, rows[0] if rows else None)


def _difference(base: Row | None, row: Row) -> tuple[float, float, float]:
    """Mean of row - base over the queries that both have, with its paired interval."""
    if base is None:
        return math.nan, math.nan, math.nan
    both = [image for image in base.values if image in row.values]
    return paired_difference([base.values[i] for i in both], [row.values[i] for i in both])


def _falling(value: float) -> float:
    return math.inf if math.isnan(value) else -value
