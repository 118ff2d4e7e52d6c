"""Which pictures come together in a batch: m images of each of several classes.

Everything follows from (seed, epoch): a training that goes on after a kill draws the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cbir.config import Settings
from cbir.errors import UsageError
from cbir.types import Ids


@dataclass(frozen=True, slots=True)
class BatchSpec(Settings):
    """How batches are drawn.

    classes   classes in a batch (fewer where there are fewer)
    images    images of each class in a batch; a class with fewer shows some more than once, each
              time with other random changes
    """

    classes: int = 12
    images: int = 4

    def __post_init__(self) -> None:
        if self.classes < 2 or self.images < 1:
            raise UsageError(
                "batch: expected at least 2 classes with at least 1 image each; received "
                f"{self.classes} x {self.images}."
            )


def steps_of(labels: Ids, spec: BatchSpec) -> int:
    """How many batches an epoch of labels int64 (n,) has: about n pictures are shown."""
    used = min(spec.classes, len(np.unique(labels)))
    return max(1, round(len(labels) / (used * spec.images)))


def epoch_batches(
    labels: Ids,
    spec: BatchSpec,
    rng: np.random.Generator,
    partners: Mapping[int, Ids] | None = None,
) -> list[Ids]:
    """The batches of one epoch: rows int64 (b,), all of one length.

    labels int64 (n,), all at least 0. So many batches that about n pictures are shown; classes take
    turns, so that each is shown as often as another, however many pictures it has; within a class,
    no picture comes again before all have come. `partners` are classes (of a class) that are put
    into the same batch where there is room.
    """
    members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
    used = min(spec.classes, len(members))
    decks = {label: _turns(rows, rng) for label, rows in members.items()}
    order = _turns(np.array(sorted(members), np.int64), rng)
    batches = []
    waiting: list[int] = []
    for _ in range(steps_of(labels, spec)):
        chosen: list[int] = []
        while len(chosen) < used:
            label = waiting.pop(0) if waiting else next(order)
            if label in chosen:
                waiting.append(label)  # seen already in this batch: first of the next one
                label = next(c for c in order if c not in chosen)
            chosen.append(label)
            for other in (partners or {}).get(label, ()):
                if int(other) not in chosen and len(chosen) < used:
                    chosen.append(int(other))
        batches.append(np.array([next(decks[c]) for c in chosen for _ in range(spec.images)]))
    return batches


def _turns(values: Ids, rng: np.random.Generator) -> Iterator[int]:
    """The values in random order, again and again, each time in another order."""
    while True:
        yield from (int(v) for v in rng.permutation(values))
