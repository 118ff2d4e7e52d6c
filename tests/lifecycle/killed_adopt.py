"""An `adopt` that kills itself, as `kill -9` does, at a point that is named.

python -m tests.lifecycle.killed_adopt INDEX POINT

POINT is a stage ("deriving"), a stage and how many steps of it ("embedding 20"), "swap" (in the
transaction that swaps, before it is committed) or "swapped" (right after it).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable

from cbir.catalog import CatalogWriter
from cbir.lifecycle.adopt import AdoptOptions, adopt
from cbir.lifecycle.candidates import Reading
from tests.lifecycle.galleries import CellEmbedder


def die() -> None:
    """No cleaning up, no atexit: as when the power goes."""
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """Progress that ends the process at its point."""

    def __init__(self, point: str) -> None:
        self._stage, _, steps = point.partition(" ")
        self._left = int(steps or 0)
        self._in = ""

    def stage(self, name: str, total: int | None = None) -> None:
        """Die where the stage begins, if no steps are named."""
        self._in = name
        self.advance(0)

    def advance(self, steps: int = 1) -> None:
        """Die when so many steps are done."""
        if self._in == self._stage:
            self._left -= steps
            if self._left <= 0:
                die()


swap = CatalogWriter.adopt_generation


def swap_and_die(self: CatalogWriter, generation: int) -> None:
    """Die before the swap is committed."""
    swap(self, generation)
    die()


def drop_and_die(self: CatalogWriter, kept: Iterable[int]) -> list[str]:
    """Die where cleaning up begins, if the swap was committed."""
    if self.setting("former") is not None:
        die()
    return []


if __name__ == "__main__":
    index, point = sys.argv[1:]
    if point == "swap":
        CatalogWriter.adopt_generation = swap_and_die  # type: ignore[method-assign]
    if point == "swapped":
        CatalogWriter.drop_embedders = drop_and_die  # type: ignore[method-assign]
    adopt(
        index,
        CellEmbedder(4),
        AdoptOptions(reading=Reading(batch_size=8)),
        known=[CellEmbedder(1)],
        progress=Deadly(point),
    )
