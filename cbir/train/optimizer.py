"""AdamW whose groups of weights learn at rates of their own, on a warmed-up cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="cbir")
class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` in `warm` steps, then down half a cosine to 0 at step `total`.

    Loshchilov and Hutter, SGDR (ICLR 2017), equation 5, without restarts.
    """

    def __init__(self, peak: float, total: int, warm: int = 0) -> None:
        self.peak, self.total, self.warm = peak, max(1, total), warm

    def __call__(self, step: Any) -> Any:
        at = ops.cast(step, "float32")
        rising = (at + 1) / max(1, self.warm)
        share = ops.clip((at - self.warm) / max(1, self.total - self.warm), 0.0, 1.0)
        falling = 0.5 * (1 + ops.cos(math.pi * share))
        return self.peak * ops.where(at < self.warm, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"peak": self.peak, "total": self.total, "warm": self.warm}


@keras.saving.register_keras_serializable(package="cbir")
class GroupedAdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay, and a factor on the learning rate for groups of weights.

    `factors` maps the `path` of a variable to its factor (1 where it is not named); `late` names
    variables that stay as they are for the first `wait` steps, while the others warm up. Weight
    decay counts for kernels with a factor of at most 1: not for biases, norms, nor proxies.
    Loshchilov and Hutter, Decoupled Weight Decay Regularization (ICLR 2019), algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any,
        factors: Mapping[str, float] | None = None,
        late: tuple[frozenset[str], int] = (frozenset(), 0),
        decay: float = 0.0,
        **rest: Any,
    ) -> None:
        super().__init__(learning_rate, **rest)
        self.factors, self.late, self.decay = dict(factors or {}), late, decay

    def build(self, variables: Any) -> None:
        """Look up each variable's factor once: backends hand their own kind to `update_step`."""
        super().build(variables)
        late, _ = self.late
        self._groups = [(self.factors.get(v.path, 1.0), v.path in late) for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        factor, late = self._groups[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) * factor
        if late and self.late[1]:
            begun = ops.cast(self.iterations >= self.late[1], variable.dtype)
            rate, gradient = rate * begun, gradient * ops.cast(begun, gradient.dtype)
        if self.decay and len(variable.shape) > 1 and factor <= 1:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)


def ready(learner: Any, optimizer: Any) -> Any:
    """The learner, compiled for `fit`; on TensorFlow without XLA, which is slower on a CPU."""
    optimizer.build(learner.trainable_variables)
    backend = keras.backend.backend()
    learner.compile(optimizer, jit_compile=False if backend == "tensorflow" else "auto")
    return learner
