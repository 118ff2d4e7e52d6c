"""Keras models on GPUs: compiled by the backend, one copy a device, batches as large as fit.

Pictures cross the bus as bytes. TensorFlow compiles with XLA, JAX with its own jit, torch runs as
it is. The same code runs on processors, which is how it is tested where there is no GPU; there it
is no gain (docs/design/0010-runtimes.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.backbones.nested import set_precision
from cbir.config import Precision, RuntimeChoice
from cbir.embed.quiet import quiet
from cbir.errors import EmbedderError, UsageError
from cbir.types import Pixels, Vectors

if TYPE_CHECKING:
    import keras

LARGEST = 256
"""Images of a batch at first; halved until a batch fits into the device's memory."""
POLICIES: dict[str, str] = {"f32": "float32", "bf16": "mixed_bfloat16"}
Run = Callable[[Pixels], Any]
"""Pictures uint8 (n, s, s, 3) → features (n, f), on one device."""


def gpus(choice: RuntimeChoice) -> list[str]:
    """The devices that networks are to run on, "gpu:0" and so on; none: the processor.

    auto and "gpu" take all that Keras finds. Raises UsageError where a GPU is asked for and is not
    there.
    """
    if choice.device == "cpu" or choice.runtime == "openvino":
        return []
    there = _count_gpus()
    kind, colon, number = choice.device.partition(":")
    if kind == "auto":
        return [f"gpu:{i}" for i in range(there)]
    if not there or (colon and int(number) >= there):
        import keras

        raise UsageError(
            f"device: expected a GPU that Keras' backend {keras.backend.backend()} finds; received "
            f"{choice.device!r}, and it finds {there or 'none'}. Leave the option out, or install "
            "a backend with GPU support."
        )
    return [choice.device] if colon else [f"gpu:{i}" for i in range(there)]


def _count_gpus() -> int:
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_logical_devices("GPU"))
    if backend == "jax":
        import jax

        return sum(device.platform == "gpu" for device in jax.local_devices())
    if backend == "torch":
        import torch

        return int(torch.cuda.device_count())
    return 0


class KerasJitRuntime:
    """Runs a Keras model on devices: uint8 (n, s, s, 3) → float32 (n, f)."""

    def __init__(
        self, model: keras.Model, devices: Sequence[str], precision: Precision = "f32"
    ) -> None:
        """`devices`: "gpu:0", "cpu:0", ...; int8 is computed in f32 here."""
        self._model, self._devices = model, list(devices)
        self._policy = POLICIES.get(precision, "float32")
        self._precision = precision if precision in POLICIES else "f32"
        self._runs: list[Run] = []
        self._one = threading.Lock()
        self.batch = LARGEST

    @property
    def name(self) -> str:
        """What runs it, for people."""
        import keras

        where = ", ".join(self._devices)
        return f"keras on {keras.backend.backend()}, {self._precision}, {where}"

    def __call__(self, pixels: Pixels) -> Vectors:
        """Features of any number of images, in batches over all devices."""
        if not len(pixels):
            return np.empty((0, int(self._model.output_shape[-1])), np.float32)
        with self._one:
            if not self._runs:
                with quiet():
                    self._runs = [_compiled(self._model, d, self._policy) for d in self._devices]
            return self._on_all(np.ascontiguousarray(pixels))

    def _on_all(self, pixels: Pixels) -> Vectors:
        """Each device takes a part of the pictures."""
        parts = np.array_split(pixels, min(len(self._runs), len(pixels)))
        if len(parts) == 1:
            return self._on_one(self._runs[0], pixels)
        with ThreadPoolExecutor(len(parts)) as pool:
            return np.concatenate(list(pool.map(self._on_one, self._runs, parts)))

    def _on_one(self, run: Run, pixels: Pixels) -> Vectors:
        made: list[Vectors] = []
        start = 0
        while start < len(pixels):
            block = pixels[start : start + self.batch]
            try:
                made.append(np.asarray(run(_filled(block)), np.float32)[: len(block)])
            except Exception as error:
                if not _is_memory(error):
                    raise
                if len(block) == 1:
                    raise EmbedderError(
                        "One image does not fit into the memory of the device; expected a network "
                        "that does. Use --device cpu, or a smaller --input-size."
                    ) from None
                self.batch = max(1, len(block) // 2)
            else:
                start += len(block)
        return np.concatenate(made)


def _filled(block: Pixels) -> Pixels:
    """Up to a power of two, since each size is compiled anew."""
    wanted = 1 << (len(block) - 1).bit_length()
    if wanted == len(block):
        return block
    fill = np.zeros((wanted - len(block), *block.shape[1:]), np.uint8)
    return np.concatenate((block, fill))


def _is_memory(error: Exception) -> bool:
    """Whether a device had too little memory: each backend has its own error for it."""
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in ("resource_exhausted", "resourceexhausted", "out of memory",
                                         "outofmemory"))  # fmt: skip


def _compiled(model: keras.Model, device: str, policy: str) -> Run:
    """A copy of the model on a device, ready to run."""
    import keras

    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise UsageError(
            f"device: expected Keras' backend tensorflow, jax or torch for {device}; received "
            f"{backend}. Set KERAS_BACKEND."
        )
    with keras.device(device):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        if policy != "float32":
            set_precision(copy, policy)
    return _BACKENDS[backend](copy, device)


def _tensorflow(model: keras.Model, device: str) -> Run:
    import tensorflow as tf

    function = tf.function(lambda pixels: model(pixels, training=False), jit_compile=True)

    def run(pixels: Pixels) -> Any:
        with tf.device(device):
            return tf.cast(function(tf.constant(pixels)), tf.float32).numpy()

    return run


def _jax(model: keras.Model, device: str) -> Run:
    import jax

    kind, _, number = device.partition(":")
    place = jax.local_devices(backend=kind)[int(number or 0)]
    state = [
        [jax.device_put(v.value, place) for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    def call(trainable: Any, rest: Any, pixels: Any) -> Any:
        found, _ = model.stateless_call(trainable, rest, pixels, training=False)
        return found.astype("float32")

    function = jax.jit(call)

    def run(pixels: Pixels) -> Any:
        return np.asarray(function(*state, jax.device_put(pixels, place)))

    return run


def _torch(model: keras.Model, device: str) -> Run:
    import keras
    import torch

    place = torch.device(device.replace("gpu", "cuda"))

    def run(pixels: Pixels) -> Any:
        with torch.inference_mode(), keras.device(device):
            found = model(torch.from_numpy(pixels).to(place), training=False)
        return found.float().cpu().numpy()

    return run


_BACKENDS: dict[str, Callable[[Any, str], Run]] = {
    "tensorflow": _tensorflow, "jax": _jax, "torch": _torch,
}  # fmt: skip
