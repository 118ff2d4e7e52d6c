"""Networks in OpenVINO's form: made from Keras models, run on the processor.

The precision is always said: left alone, OpenVINO computes in bfloat16 wherever the processor can,
and features would differ from machine to machine. Images run one by one, as many at a time as there
are cores: a feature does not depend on what came with it, nothing is filled up, and no core waits.
"""

from __future__ import annotations

import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.config import Precision
from cbir.machine import cores
from cbir.types import Pixels, Vectors

if TYPE_CHECKING:
    import keras

FEW = 4
"""Fewer images than these run one after the other, each on all cores: the first answer counts."""


def openvino() -> Any:
    """The package, with its reports of use switched off: cbir sends nothing anywhere."""
    import openvino as package
    from openvino.tools.ovc import convert_impl, telemetry_stub, telemetry_utils

    telemetry_utils.tm = convert_impl.tm = telemetry_stub
    return package


def convert(model: keras.Model, folder: str) -> str:
    """Write a Keras model (uint8 (n, s, s, 3) → float32 (n, f)) as `model.xml` and `model.bin`.

    Returns the path of `model.xml`. Whatever OpenVINO raises is passed on.
    """
    package = openvino()
    with warnings.catch_warnings():  # Keras' remarks on how its model is called
        warnings.simplefilter("ignore")
        made = package.convert_model(model)
    made.reshape([1, *(int(n) for n in model.input_shape[1:])])
    path = os.path.join(folder, "model.xml")
    package.save_model(made, path, compress_to_fp16=False)
    return path


class OpenVinoRuntime:
    """Runs a network that `convert` (or `quantise`, for int8) wrote; compiled on first use."""

    def __init__(self, path: str, precision: Precision = "f32") -> None:
        self._path, self._precision = path, precision
        self._one = threading.Lock()
        self._model: Any = None
        self._alone: Any = None
        self._queue: Any = None

    @property
    def name(self) -> str:
        """What runs it, for people."""
        return f"openvino {self._precision}"

    def __call__(self, pixels: Pixels) -> Vectors:
        """Features of any number of images: uint8 (n, s, s, 3) → float32 (n, f)."""
        rows = np.ascontiguousarray(pixels)
        with self._one:
            if len(rows) < FEW:
                return self._one_by_one(rows)
            return self._together(rows)

    def _compile(self, streams: int) -> Any:
        """The network compiled to run so many images at a time on all cores."""
        package = openvino()
        core = package.Core()
        if self._model is None:
            self._model = core.read_model(self._path)
        return core.compile_model(self._model, "CPU", {
            # int8 is in the network itself; what is left of floats is to be f32 there
            "INFERENCE_PRECISION_HINT": "bf16" if self._precision == "bf16" else "f32",
            "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # others compute here too, the decoders to begin with
        })  # fmt: skip

    def _one_by_one(self, rows: Pixels) -> Vectors:
        if self._alone is None:
            self._alone = self._compile(1).create_infer_request()
        found = [self._alone.infer(row[None])[0].copy() for row in rows]
        length = int(self._alone.get_output_tensor().shape[-1]) if rows.size else self._length()
        return np.concatenate(found) if found else np.empty((0, length), np.float32)

    def _length(self) -> int:
        return int(self._alone.get_compiled_model().output().shape[-1])

    def _together(self, rows: Pixels) -> Vectors:
        if self._queue is None:
            package = openvino()
            compiled = self._compile(cores())
            self._queue = package.AsyncInferQueue(compiled, cores() + 1)
            self._width = int(compiled.output().shape[-1])
        found = np.empty((len(rows), self._width), np.float32)

        def take(request: Any, place: int) -> None:
            found[place] = request.get_output_tensor().data[0]

        self._queue.set_callback(take)
        for place in range(len(rows)):
            self._queue.start_async({0: rows[place : place + 1]}, place)
        self._queue.wait_all()
        return found
