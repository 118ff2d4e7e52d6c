"""The Keras model itself, which is the truth that other runtimes are checked against.

On TensorFlow the model is frozen into one graph with constants. It runs one image or 32 at a time:
a batch that is not full is filled up and cut again, so that a feature does not depend on how many
came with it. One graph takes both, since each graph holds the weights several times over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.embed.quiet import quiet
from cbir.types import Pixels, Vectors

if TYPE_CHECKING:
    import keras

BATCH = 32
FEW = 12
"""Fewer images than these are run one by one, which is faster than a block that is mostly filling
(measured on EfficientNet-Lite0: 88 images/s alone, 0.25 s a block)."""


class KerasRuntime:
    """Runs a Keras model: uint8 (n, s, s, 3) → float32 (n, f)."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._compiled: Callable[[Pixels], Any] | None = None
        self._ran: set[int] = set()
        self._first = threading.Lock()

    @property
    def name(self) -> str:
        """What runs it, for people."""
        import keras

        return f"keras on {keras.backend.backend()}"

    def __call__(self, pixels: Pixels) -> Vectors:
        """Features of any number of images, in blocks of 32; a few are run one by one."""
        parts = [np.empty((0, int(self._model.output_shape[-1])), np.float32)]
        size = 1 if len(pixels) < FEW else BATCH
        for start in range(0, len(pixels), size):
            block = pixels[start : start + size]
            if len(block) < size:
                fill = np.zeros((size - len(block), *block.shape[1:]), np.uint8)
                full = np.concatenate((block, fill))
            else:
                full = np.ascontiguousarray(block)
            parts.append(np.asarray(self._run(full), np.float32)[: len(block)])
        return np.concatenate(parts)

    def _run(self, pixels: Pixels) -> Any:
        if self._compiled is None or len(pixels) not in self._ran:
            with self._first, quiet():  # TensorFlow looks at the machine when it first runs
                if self._compiled is None:
                    self._compiled = self._compile()
                found = self._compiled(pixels)
                self._ran.add(len(pixels))
                return found
        return self._compiled(pixels)

    def _compile(self) -> Callable[[Pixels], Any]:
        import keras

        if keras.backend.backend() != "tensorflow":
            return lambda pixels: keras.ops.convert_to_numpy(self._model.predict_on_batch(pixels))
        return _freeze(self._model)


def _freeze(model: keras.Model) -> Callable[[Pixels], Any]:
    """The model as a TensorFlow graph whose weights are constants, for any number of images."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    shape = (None, *model.input_shape[1:])
    function = tf.function(lambda pixels: model(pixels, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.uint8))
    frozen = convert_variables_to_constants_v2(concrete)
    return lambda pixels: frozen(tf.constant(pixels))[0].numpy()
