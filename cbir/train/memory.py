"""Cross-batch memory: embeddings of earlier batches as further references of a pair-based loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from cbir.train.losses.base import MetricLoss
from cbir.train.losses.numerics import Tensor


@keras.saving.register_keras_serializable("cbir")
class CrossBatchMemory(MetricLoss):
    """A pair-based or ranking loss of the batch against the batch and the last `size` embeddings.

    What is remembered is constant: the gradient flows through the batch only. Remembered are the
    rows as the loss compares them, newest first, with labels; a place that is empty, or holds
    padding, has the label -1 and does not count. Both are variables of this layer, so that they are
    in a checkpoint, and work in a graph. A batch larger than the memory leaves its first rows.

    loss    a `PairLoss`
    size    embeddings remembered, at least 1
    start   steps before the memory is used (it fills meanwhile): embeddings drift fast at first

    Wang, Zhang, Huang and Scott, Cross-Batch Memory for Embedding Learning (CVPR 2020), section 3
    (algorithm 1). There the loss takes the memory alone, which the batch has joined first; the
    references are the same.
    """

    options = ("size", "start")

    def __init__(self, loss: Any, *, size: int, start: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner, self.size, self.start = loss, size, start

    def build(self, embeddings_shape: Any) -> None:
        """Make an empty memory for embeddings (n, d)."""
        self.remembered = self._state((self.size, embeddings_shape[-1]), "float32", "zeros")
        self.labels = self._state((self.size,), "int32", keras.initializers.Constant(-1))
        self.steps = self._state((), "int32", "zeros")
        self.inner.build(embeddings_shape)
        self.built = True

    def _state(self, shape: tuple[int, ...], dtype: str, initializer: Any) -> Any:
        return self.add_weight(
            shape=shape, dtype=dtype, initializer=initializer, trainable=False, autocast=False
        )

    def call(self, embeddings: Tensor, labels: Tensor, training: bool = True) -> Tensor:
        """Embeddings (n, d) and labels int (n,) → float32 scalar; remembers them in training.

        Outside training (`training=False`) it is the loss of the batch alone.
        """
        if not training:
            return self.inner(embeddings, labels)
        rows, labels = self.inner.rows(embeddings), ops.cast(labels, "int32")
        past = ops.convert_to_tensor(self.remembered), ops.convert_to_tensor(self.labels)
        begun = ops.convert_to_tensor(self.steps) >= self.start
        found = self.inner(
            embeddings,
            labels,
            ops.concatenate([ops.cast(embeddings, "float32"), past[0]]),
            ops.concatenate([labels, ops.where(begun, past[1], -1)]),
            starts_with_batch=True,
        )
        # The batch goes in front, what no longer fits is dropped: no index, no wrap, any size.
        joined = ops.concatenate([ops.stop_gradient(rows), past[0]])
        self.remembered.assign(ops.slice(joined, (0, 0), self.remembered.shape))
        self.labels.assign(ops.slice(ops.concatenate([labels, past[1]]), (0,), (self.size,)))
        self.steps.assign_add(1)
        return found

    def get_config(self) -> dict[str, Any]:
        """Everything that `from_config` needs."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CrossBatchMemory:
        """The inverse of `get_config`, with an empty memory."""
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})
