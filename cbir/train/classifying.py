"""The network that learns classes: logits, cross-entropy, auxiliary heads where it has them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from cbir.train.optimizer import Cosine, GroupedAdamW, ready
from cbir.train.scratch_recipe import ScratchRecipe
from cbir.types import Ids, Pixels, Vectors


def cross_entropy(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """Mean cross-entropy of logits (n, c) to class numbers (n,), a scalar.

    With smoothing s the target is 1 - s + s / c for the class and s / c for each other one.
    """
    classes = logits.shape[-1]
    target = ops.one_hot(ops.cast(labels, "int32"), classes, dtype=logits.dtype)
    target = target * (1 - smoothing) + smoothing / classes
    return -ops.mean(ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1))


class Classifying(keras.Model):
    """`fit` on (pixels, class numbers): each output's loss, weighted as the network says."""

    def __init__(self, network: Any, weights: list[float], smoothing: float) -> None:
        super().__init__(name="classifying")
        self.network, self.shares, self.smoothing = network, weights, smoothing

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Pixels uint8 (n, s, s, 3) → logits (n, c), or a list of them."""
        return self.network(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
        training: bool = True,
    ) -> Any:  # fmt: skip
        """The weighted sum of the outputs' cross-entropies."""
        outputs = y_pred if isinstance(y_pred, list | tuple) else [y_pred]
        parts = [
            share * cross_entropy(logits, y, self.smoothing)
            for share, logits in zip(self.shares, outputs, strict=True)
        ]
        return sum(parts[1:], parts[0])


def compiled(network: Any, shares: list[float], recipe: ScratchRecipe, steps: int) -> Classifying:
    """Network, loss and optimizer, ready for `fit`; `steps` of an epoch."""
    learner = Classifying(network, shares, recipe.smoothing)
    learner.build(network.input_shape)
    rate = Cosine(recipe.learning_rate, recipe.epochs * steps, round(recipe.warm * steps))
    if recipe.optimizer == "adamw":
        optimizer: Any = GroupedAdamW(rate, decay=recipe.decay)
    else:
        optimizer = keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=recipe.decay or None
        )
        if recipe.decay:
            flat = [v for v in learner.trainable_variables if len(v.shape) < 2]
            optimizer.exclude_from_weight_decay(var_list=flat)
    ready(learner, optimizer)
    return learner


def logits_of(model: Any, pixels: Pixels, batch: int = 128) -> Vectors:
    """A classifier's logits of uint8 (n, s, s, 3), float32 (n, c), in batches of one size."""
    parts = [np.empty((0, int(model.output_shape[-1])), np.float32)]
    for start in range(0, len(pixels), batch):
        block = pixels[start : start + batch]
        full = np.zeros((batch, *pixels.shape[1:]), np.uint8)
        full[: len(block)] = block
        parts.append(np.asarray(model.predict_on_batch(full), np.float32)[: len(block)])
    return np.concatenate(parts)


def accuracy(logits: Vectors, labels: Ids) -> float:
    """Share of rows whose largest logit is that of their class; NaN without rows."""
    return float((logits.argmax(axis=1) == labels).mean()) if len(labels) else float("nan")
