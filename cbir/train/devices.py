"""Several devices for one training: each computes a part of every batch, weights stay equal.

On TensorFlow by `tf.distribute.MirroredStrategy` (Keras' own distribution is not usable there), on
JAX by Keras' distribution API. A loss compares the pictures of its own part only: with two devices
and 12 x 4 pictures, each sees 6 classes on TensorFlow; on JAX the loss is of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from cbir.errors import UsageError


@contextmanager
def spread(count: int) -> Iterator[Any]:
    """Build and compile a network inside, and it is trained on `count` devices; 1: as ever.

    Gives a context for building. Raises UsageError where there are fewer devices, or the backend
    has no way.
    """
    import keras

    backend = keras.backend.backend()
    if count == 1:
        yield nullcontext()
    elif backend == "tensorflow":
        yield _mirrored(count).scope()
    elif backend == "jax":
        devices = keras.distribution.list_devices()
        _check(count, len(devices))
        before = keras.distribution.distribution()
        made = keras.distribution.DataParallel(devices=devices[:count], auto_shard_dataset=False)
        keras.distribution.set_distribution(made)
        try:
            yield nullcontext()
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise UsageError(
            f"devices: expected 1 on Keras' backend {backend}; received {count}. Set "
            "KERAS_BACKEND to jax or tensorflow to train on several."
        )


def replicas() -> int:
    """How many parts of a batch have a loss of their own, whose gradients TensorFlow adds up."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def _mirrored(count: int) -> Any:
    """The strategy over the first `count` GPUs, or CPU devices where there is no GPU."""
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    _check(count, len(found))
    names = [device.name for device in found[:count]]
    cross = None if found[0].device_type == "GPU" else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(names, cross_device_ops=cross)


def _check(count: int, there: int) -> None:
    if count > there:
        raise UsageError(
            f"devices: expected at most {there}, which is how many there are; received {count}."
        )
