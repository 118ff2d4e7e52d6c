"""A network with whole numbers of 8 bits instead of floats: faster, and a little different.

Post-training quantisation: pictures of the gallery pass the network once, and each layer's range
is taken from what they cause: Jacob et al., Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference (CVPR 2018), section 2; done by NNCF.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbir.embed.runtimes.openvino_ir import convert, openvino
from cbir.errors import UsageError
from cbir.types import Pixels

if TYPE_CHECKING:
    import keras

LEAST = 32
"""Pictures that ranges are taken from, at least."""
MOST = 300


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised network in OpenVINO's form: the bytes of `model.xml` and `model.bin`."""

    xml: bytes
    weights: bytes

    @property
    def digest(self) -> str:
        """16 hex digits over both: what the embedder's settings name."""
        return hashlib.blake2b(self.xml + self.weights, digest_size=8).hexdigest()


def quantise(model: keras.Model, pixels: Pixels) -> Quantised:
    """Quantise a Keras model on pictures uint8 (n, s, s, 3), at least 32; the first 300 count.

    Raises UsageError for fewer, or without the packages that it takes.
    """
    if len(pixels) < LEAST:
        raise UsageError(
            f"precision int8: expected at least {LEAST} pictures to take ranges from; received "
            f"{len(pixels)}. Index more pictures, or choose f32 or bf16."
        )
    nncf = _nncf()
    with tempfile.TemporaryDirectory() as folder:
        network = openvino().Core().read_model(convert(model, folder))
        rows = pixels[:MOST]
        data = nncf.Dataset(range(len(rows)), lambda i: rows[i : i + 1])
        with redirect_stdout(io.StringIO()):  # its progress bars
            made = nncf.quantize(
                network, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(rows)
            )
        path = os.path.join(folder, "int8.xml")
        openvino().save_model(made, path, compress_to_fp16=False)
        with open(path, "rb") as xml, open(path[:-4] + ".bin", "rb") as weights:
            return Quantised(xml.read(), weights.read())


def has_nncf() -> bool:
    """Whether networks can be quantised here; nothing is imported."""
    from importlib.util import find_spec

    return find_spec("nncf") is not None and find_spec("openvino") is not None


def _nncf() -> Any:
    """The package, without its reports of use and its progress bars."""
    if not has_nncf():
        raise UsageError(
            "precision int8: expected the packages openvino and nncf; not both are installed. "
            "`pip install 'cbir[int8]'`, or choose f32 or bf16."
        )
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # it reads this when it is imported
    try:
        import nncf
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    nncf.set_log_level(40)
    return nncf
