"""Who wants to know how far a training is."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Told of stages and steps."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; total steps, where known."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        ...
