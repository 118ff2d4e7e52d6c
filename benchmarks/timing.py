"""Comparing speeds on a machine that others use too: contestants take turns, ratios pair by pair.

Each round runs every contestant once, so that what else the machine does meets all alike. A lap is
timed by the wall clock and by the computing of this process on all cores; ratios are of laps of one
round, and given as median, smallest and largest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(slots=True)
class Contestant:
    """Something that does `work()` → how many units (images, queries, ...); and its laps."""

    name: str
    work: Callable[[], int]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def lap(self) -> None:
        """Once: seconds a unit."""
        wall, cpu = time.perf_counter(), time.process_time()
        units = self.work()
        self.wall.append((time.perf_counter() - wall) / units)
        self.cpu.append((time.process_time() - cpu) / units)

    def row(self) -> dict[str, Any]:
        """Medians: units a second by the clock, and units a second of computing."""
        return {
            "name": self.name, "per_second": round(1 / median(self.wall), 2),
            "per_cpu_second": round(1 / median(self.cpu), 2) if min(self.cpu) > 0 else None,
            "laps": len(self.wall),
        }  # fmt: skip


def take_turns(contestants: Sequence[Contestant], rounds: int, warm_up: int = 1) -> None:
    """Rounds in which every contestant runs once; the first ones are not counted."""
    for _ in range(warm_up):
        for one in contestants:
            one.work()
    for _ in range(rounds):
        for one in contestants:
            one.lap()


def ratio(fast: Contestant, slow: Contestant, by: str = "cpu") -> dict[str, float]:
    """How many times as fast: median, smallest and largest over the rounds."""
    pairs = [b / a for a, b in zip(getattr(fast, by), getattr(slow, by), strict=True)]
    return {"median": round(median(pairs), 3), "least": round(min(pairs), 3),
            "most": round(max(pairs), 3)}  # fmt: skip


def ratio_text(found: Mapping[str, float]) -> str:
    """ "1.83 (1.80 to 1.91)"."""
    return f"{found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})"
