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


class AllPictures:
    """Tells another watcher, and says with each stage that it is of the second training."""

    def __init__(self, watch: Watcher) -> None:
        self.watch = watch

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins."""
        self.watch.stage(f"All pictures: {name[:1].lower()}{name[1:]}", total)

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        self.watch.advance(steps)
