"""Epoch after epoch: figures of each, the best weights, a checkpoint, early stopping."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbir.errors import UsageError
from cbir.train.checkpoint import Checkpoint, Progress
from cbir.train.steps import steps_callback
from cbir.train.watcher import Watcher


@dataclass(frozen=True, slots=True)
class Limits:
    """When it ends: `epochs` at most, or `patience` (0: never) without a better `deciding` metric;
    `learning_rate` is named where the loss is not finite."""

    epochs: int
    patience: int
    deciding: str
    learning_rate: float


class Epochs(ABC):
    """One training, restored from its checkpoint, then run epoch by epoch.

    `learner` is the compiled model that `fit` trains, `kept` the network whose best weights count.
    """

    def __init__(
        self, learner: Any, kept: Any, limits: Limits, checkpoint: Checkpoint, watch: Watcher
    ) -> None:
        self.learner, self.kept, self.limits = learner, kept, limits
        self.checkpoint, self.watch = checkpoint, watch
        self.best: list[Any] = kept.get_weights()
        self.progress = Progress()
        found = checkpoint.load()
        if found is not None:
            self.progress, arrays = found
            self.best = arrays["best"]
            for name, variables in self._variables().items():
                for variable, value in zip(variables, arrays[name], strict=True):
                    variable.assign(value)

    @abstractmethod
    def batches(self, epoch: int) -> tuple[Any, int, int]:
        """What `fit` is given for an epoch (from 0), pictures in it, and in one batch."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics of the network as it is now; empty without validation."""

    def _variables(self) -> dict[str, list[Any]]:
        return {"learner": self.learner.variables, "optimizer": self.learner.optimizer.variables}

    def run(self) -> Iterator[dict[str, float]]:
        """Train; the figures of each epoch after it is on disk."""
        while self.progress.epochs < self.limits.epochs and not self._stopped():
            number = self.progress.epochs
            figures = self._epoch(number)
            score = figures.get(self.limits.deciding, float(number))  # without any: the last one
            self.progress.history.append(figures)
            state: dict[str, Any] = {}
            if score > self.progress.best_score:
                self.progress.best, self.progress.best_score = number, score
                self.best = state["best"] = self.kept.get_weights()
            for name, variables in self._variables().items():
                state[name] = [v.numpy() for v in variables]
            self.checkpoint.save(self.progress, state)
            yield figures

    def _stopped(self) -> bool:
        since = self.progress.epochs - 1 - self.progress.best
        return bool(self.limits.patience) and since >= self.limits.patience

    def _epoch(self, number: int) -> dict[str, float]:
        start = time.perf_counter()
        data, pictures, together = self.batches(number)
        self.watch.stage(f"Epoch {number + 1}", pictures)
        step = steps_callback(self.watch.advance, together)
        found = self.learner.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[step])
        loss = float(found.history["loss"][0])
        if not np.isfinite(loss):
            raise UsageError(
                f"The loss is not finite in epoch {number + 1}; expected a number. Give a smaller "
                f"--learning-rate than {self.limits.learning_rate:g}."
            )
        trained = time.perf_counter() - start
        figures = {"epoch": float(number + 1), "loss": loss, **self.validate()}
        return {**figures, "train_s": trained, "seconds": time.perf_counter() - start}
