"""Which precision a network is computed in: what was asked for, or what measurement chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cbir.catalog import CatalogWriter
from cbir.config import FeatureExtractor, Precision
from cbir.errors import UsageError
from cbir.evaluate.precisions import (
    OVERLAP,
    TOLERANCE,
    PrecisionRow,
    choose_precision,
    material,
    measure_precisions,
)
from cbir.machine import processor

Wanted = Literal["f32", "bf16", "int8", "auto"]
EVERY: tuple[Precision, ...] = ("f32", "bf16", "int8")
LEAST = 64
"""Pictures that a choice takes: with fewer, f32 it is."""


@dataclass(frozen=True, slots=True)
class Settled:
    """An embedder of the precision that counts, and how it was chosen: `rows` are empty where
    nothing was measured; `why` is one line for people."""

    embedder: FeatureExtractor
    rows: tuple[PrecisionRow, ...] = ()
    why: str = ""


def settle(
    embedder: FeatureExtractor,
    wanted: Wanted,
    paths: Sequence[str],
    advance: Callable[[int], None] = lambda _: None,
) -> Settled:
    """The embedder (of f32) in the precision that is wanted; `auto` measures on these files.

    Raises UsageError where the embedder has no network, or that precision cannot be had.
    """
    if wanted == "f32":
        return Settled(embedder)
    recast: Any = embedder
    if not hasattr(embedder, "with_precision"):
        raise UsageError(
            f"precision: expected an embedder with a network; {embedder.spec.backbone} has none. "
            "Leave the option out."
        )
    if wanted == "bf16":
        return Settled(recast.with_precision("bf16"))
    on = material(paths, embedder.spec)
    if wanted == "int8":
        return Settled(recast.with_precision("int8", on.pixels))
    if len(on.pixels) < LEAST:
        return Settled(embedder, (), f"f32, since {len(on.pixels)} pictures are too few to choose "
                                     f"by (it takes {LEAST})")  # fmt: skip
    rows, made = measure_precisions(recast, EVERY, on, advance)
    chosen = choose_precision(rows)
    return Settled(made[chosen], tuple(rows), _reason(chosen, rows))


def _reason(chosen: Precision, rows: Sequence[PrecisionRow]) -> str:
    by = {row.precision: row for row in rows}
    if chosen == "f32":
        return "f32: no other precision is faster by a tenth here with the same answers"
    row, ratio = by[chosen], by[chosen].images_per_second / by["f32"].images_per_second
    return (
        f"{chosen}: {ratio:.1f} times as fast as f32 here, {row.overlap:.0%} of the nearest ten "
        f"stay, edited copies are found as often ({row.recall:.3f}, f32 {by['f32'].recall:.3f})"
    )


def record(catalog: CatalogWriter, settled: Settled) -> None:
    """Keep how an embedder's precision was chosen, with all numbers, in the index."""
    if not settled.why:
        return
    entry = {
        "why": settled.why, "tolerance": {"recall@1": TOLERANCE, "overlap@10": OVERLAP},
        "machine": processor(), "rows": [_plain(row) for row in settled.rows],
    }  # fmt: skip
    with catalog.writing():
        kept = catalog.setting("precision") or {}
        catalog.set("precision", {**kept, settled.embedder.fingerprint: entry})


def _plain(row: PrecisionRow) -> dict[str, Any]:
    """A row as JSON has it: null where there is no number."""

    def number(value: float) -> float | None:
        return None if value != value else round(value, 6)

    return {
        "precision": row.precision, "images_per_second": number(row.images_per_second),
        "recall@1": number(row.recall), "difference": [number(v) for v in row.difference],
        "overlap@10": number(row.overlap), "cosine": number(row.cosine), "problem": row.problem,
    }  # fmt: skip
