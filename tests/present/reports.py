"""Reports of made-up numbers over a real gallery: small, many classes, without labels, empty."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cbir.present.album import Shot
from cbir.present.recall_page import (
    Case,
    ClassBar,
    Curves,
    Metric,
    Pair,
    RecallReport,
    Value,
)
from cbir.present.recall_plots import Histogram, Line
from tests.present.conftest import Gallery

NONE = np.zeros(0)


def line(name: str, x: np.ndarray, y: np.ndarray, band: float = 0) -> Line:
    """A curve with a band of even width, or without one."""
    low, high = ((y - band).clip(0, 1), (y + band).clip(0, 1)) if band else (NONE, NONE)
    return Line(name, x, y, low, high)


def curves() -> Curves:
    """Curves as a benchmark has them."""
    ks, levels = np.arange(1.0, 101), np.linspace(0, 1, 101)
    places = np.linspace(-0.99, 0.99, 100)
    right, wrong = (np.exp(-(((places - at) / 0.2) ** 2)) for at in (0.5, 0.0))
    return Curves(
        recall=(line("net <b>", ks, 1 - 0.3 / ks, 0.04), line("colour", ks, 1 - 0.7 / ks, 0.05)),
        precision=(
            line("net <b>", levels, 1 - 0.8 * levels),
            line("colour", levels, 0.3 - levels * 0.2),
        ),
        scores=Histogram(right / right.sum(), wrong / wrong.sum(), 0.253),
        facts=(("AUC", ".912 (floor .600)"), ("equal error", "12.0%")),
    )


def cases(gallery: Gallery) -> tuple[Case, ...]:
    """A query with odd names and lost files among its hits, one that found nothing right, one
    without hits."""
    files = (*gallery.odd[:5], gallery.broken, gallery.gone, *gallery.pictures[:2])
    hits = tuple(
        Shot(path, f"class {i}", i, 0.9 - i / 20, i % 3 == 0)
        for i, path in enumerate(files, start=1)
    )
    later = Shot(gallery.pictures[3], "<script>alert(1)</script>", 1234, 0.1, True)
    query = Shot(gallery.pictures[0], "a class with a long name that goes on " * 4, crop="2,3,9,9")
    return (
        Case(query, hits, later, 0.05, 1234, 12),
        Case(Shot(gallery.odd[4], gallery.odd[4]), hits[:2], None, 0.0, None, 3),
        Case(Shot(gallery.gone), (), None, 0.0, None, 1),
    )


def report(gallery: Gallery, classes: int = 10) -> RecallReport:
    """A report with every part."""
    value = Value(0.771, 0.727, 0.815)
    names = ["<img src=x>", '{{ 7 * 7 }} & "more"', "日本語の名前がとても長い" * 6, "x" * 300]
    names += [f"class {i}" for i in range(classes - len(names))]
    bars = tuple(
        ClassBar(name, 1 + i * 997, Value(i / len(names), 0, 1), Value(0.5, 0.4, 0.6),
                 math.nan if i == 2 else 0.3)
        for i, name in enumerate(names)
    )  # fmt: skip
    made = cases(gallery)
    pairs = (
        Pair(made[0].query, made[0].hits[0], 7, 12),
        Pair(
            Shot(gallery.gone, "lost"),
            Shot(gallery.broken, "x" * 200, score=0.5, right=False),
            1,
            900,
        ),
    )
    return RecallReport(
        protocol="clothing split=<validation> in \u202esplit=train",
        system="net <b>, pca 256",
        floor="classical/colour, raw",
        queries=12345, without_relevant=17, gallery=98765,
        metrics=tuple(
            Metric(name, "what it means & more", value, Value(0.35, 0.3, 0.4),
                   Value(-0.02, -0.05, 0.013))
            for name in ("recall@1", "recall@5", "recall@10", "mAP", "MAP@R", "P@10")
        ),
        about=(("Protocol", "a/" * 80), ("Weights", "<i>imagenet</i>"), ("On", "2026-03-01")),
        curves=curves(),
        classes=bars, classes_of=len(bars), pairs=pairs, pairs_of=30,
        worst=made, best=made[:1], notes=("A note about <something>.",), date="2026-03-01 10:00",
    )  # fmt: skip


def empty(gallery: Gallery) -> RecallReport:
    """A report of queries that have nothing to find."""
    nan = Value(math.nan, math.nan, math.nan)
    full = report(gallery)
    metrics = tuple(replace(m, system=nan, floor=nan, gain=nan) for m in full.metrics)
    bare = replace(full, classes=(), classes_of=0, pairs=(), pairs_of=0, worst=(), best=())
    return replace(bare, queries=0, metrics=metrics, curves=None, notes=())
