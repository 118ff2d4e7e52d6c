"""What every runtime gives, and which one a process uses."""

from __future__ import annotations

import glob
import os
from importlib.util import find_spec
from typing import Protocol

from cbir.config import RuntimeChoice
from cbir.errors import UsageError
from cbir.types import Pixels, Vectors


class Runtime(Protocol):
    """Runs one network. Threads may share it."""

    @property
    def name(self) -> str:
        """What runs it, for people: "openvino f32 on 2 cores"."""
        ...

    def __call__(self, pixels: Pixels) -> Vectors:
        """Features of any number of images: uint8 (n, s, s, 3) → float32 (n, f)."""
        ...


def has_openvino() -> bool:
    """Whether the package is there; nothing is imported."""
    return find_spec("openvino") is not None


def gpu_likely() -> bool:
    """Whether this machine has an NVIDIA GPU that this process may use; nothing is imported, so
    that asking costs nothing. Keras has the last word."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return bool(glob.glob("/dev/nvidia[0-9]*")) or os.path.exists("/dev/dxg")


def compiles(choice: RuntimeChoice) -> bool:
    """Whether networks are to be compiled for the processor.

    Raises UsageError where that was asked for and OpenVINO is not installed.
    """
    if choice.runtime == "keras" or choice.device.startswith("gpu"):
        return False
    if choice.runtime == "openvino" and not has_openvino():
        raise UsageError(
            "runtime: expected the package openvino for --runtime openvino; it is not installed. "
            "`pip install openvino`, or leave the option out."
        )
    if choice.runtime == "auto" and choice.device == "auto" and gpu_likely():
        return False
    return has_openvino()
