"""Compiled networks, kept by fingerprint: each is made once, and checked before it is used.

The folder `compiled/<fingerprint>-openvino-<version>/` of the cache holds `model.xml`, `model.bin`
and `export.json`: which embedder it is, hashes of the two files, and how far its features are from
Keras' on photographs. One that differs is not kept; one whose files do not have their hashes counts
as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from cbir.config import EmbedderSpec, Precision
from cbir.errors import CbirError
from cbir.machine import cache_folder
from cbir.types import Pixels, Vectors

if TYPE_CHECKING:
    import keras

    from cbir.embed.runtimes.quantise import Quantised

FORMAT = 1
CARD = "export.json"
REFUSED = "refused.txt"
FILES = ("model.xml", "model.bin")
LEAST_COSINE: Mapping[Precision, float] = {"f32": 0.9999, "bf16": 0.98, "int8": 0.5}
"""Of a feature by Keras and the same by the export. Below it, at f32, the two are not the same
embedder; at the others something is broken: photographs may be far from the pictures that ranges
were taken from, and whether a precision is good enough, retrieval on a gallery says."""
LENGTHS: Mapping[Precision, float] = {"f32": 0.01, "bf16": 0.05, "int8": 0.5}
"""By so much the lengths of the two may differ, as a share."""
ROOM = 4 << 30
"""Bytes that all exports together may take: the ones that were not used for longest go."""


class ExportError(Exception):
    """A network could not be compiled, or differs from Keras then. Keras does the work."""


@dataclass(frozen=True, slots=True)
class Export:
    """A compiled network that may be used. `cosine` is the least one found by the check."""

    path: str
    spec: EmbedderSpec
    fingerprint: str
    feature_dims: int
    cosine: float


def export_folder(fingerprint: str) -> str:
    """Where the export of an embedder is, or would be. PackageNotFoundError without OpenVINO."""
    name = f"{fingerprint}-openvino-{version('openvino')}"
    return os.path.join(cache_folder(), "compiled", name)


def find_export(fingerprint: str) -> Export | None:
    """The export of this embedder; None where there is none that can be trusted."""
    try:
        folder = export_folder(fingerprint)
        with open(os.path.join(folder, CARD), encoding="utf-8") as file:
            card = json.load(file)
        if card.pop("check") != _check(card):
            return None
        if card["format"] != FORMAT or card["fingerprint"] != fingerprint:
            return None
        if card["hashes"] != {name: _hash(os.path.join(folder, name)) for name in FILES}:
            return None
        found = Export(
            os.path.join(folder, FILES[0]), EmbedderSpec.from_dict(card["spec"]), fingerprint,
            int(card["feature_dims"]), float(card["cosine"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, CbirError, PackageNotFoundError):
        return None
    with suppress(OSError):  # a cache that can only be read
        os.utime(os.path.join(folder, CARD))
    return found


def find_stock_export(spec: EmbedderSpec) -> Export | None:
    """The export of a stock embedder by its settings alone; None where none was made of the same
    by the same code and Keras (whose weights' hashes both hold), so that nothing has to be built to
    know the fingerprint."""
    parent = os.path.join(cache_folder(), "compiled")
    wanted = {"spec": spec.to_dict(), "made_with": made_with()}
    try:
        names = sorted(os.listdir(parent))
    except OSError:
        return None
    for name in names:
        try:
            with open(os.path.join(parent, name, CARD), encoding="utf-8") as file:
                card = json.load(file)
            if all(card.get(key) == value for key, value in wanted.items()):
                found = find_export(str(card["fingerprint"]))
                if found is not None:
                    return found
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    return None


def made_with() -> dict[str, str]:
    """What a stock embedder's arrays follow from, beside its settings."""
    digest = hashlib.blake2b(digest_size=8)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # cbir/embed
    nets = os.path.join(os.path.dirname(here), "backbones")
    code = [os.path.join(nets, name) for name in sorted(os.listdir(nets)) if name.endswith(".py")]
    for path in [*code, os.path.join(here, "pooling.py"), os.path.join(here, "embedder.py")]:
        digest.update(bytes.fromhex(_hash(path)))
    return {"keras": version("keras"), "code": digest.hexdigest()}


def make_export(
    spec: EmbedderSpec, model: keras.Model, fingerprint: str, quantised: Quantised | None = None
) -> Export:
    """Compile a Keras model, check it against Keras on photographs, keep it; with the quantised
    network in its place where there is one.

    Raises ExportError where it cannot be compiled, differs, or cannot be written.
    """
    from cbir.embed.runtimes.openvino_ir import OpenVinoRuntime, convert

    folder = export_folder(fingerprint)
    if refused := _refused(folder):
        raise ExportError(refused)
    beside = f"{folder}.{uuid.uuid4().hex}"
    try:
        os.makedirs(beside)
        path = convert(model, beside)
        truth = _by_keras(model)
        cosine = checked(spec, truth, OpenVinoRuntime(path))
        if quantised is not None:
            for name, data in zip(FILES, (quantised.xml, quantised.weights), strict=True):
                with open(os.path.join(beside, name), "wb") as written:
                    written.write(data)
        if spec.precision != "f32":
            run = OpenVinoRuntime(path, spec.precision)
            cosine = checked(spec, truth, run, spec.precision)
        card = {
            "format": FORMAT, "fingerprint": fingerprint, "spec": spec.to_dict(),
            "feature_dims": int(model.output_shape[-1]), "cosine": cosine,
            "made_with": made_with(),
            "hashes": {name: _hash(os.path.join(beside, name)) for name in FILES},
        }  # fmt: skip
        with open(os.path.join(beside, CARD), "w", encoding="utf-8") as file:
            json.dump({**card, "check": _check(card)}, file, indent=2)
        _make_room(os.path.dirname(folder), beside)
        _put(beside, folder)
    except ExportError as error:
        _refuse(folder, str(error))
        raise
    except Exception as error:  # OpenVINO's own, the disk's: Keras does the work then
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(line) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    found = find_export(fingerprint)
    if found is None:
        raise ExportError(f"{folder} does not hold what was just written to it")
    return found


def _refuse(folder: str, reason: str) -> None:
    """Note that this network cannot be compiled rightly, so that it is not tried each time."""
    with suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, REFUSED), "w", encoding="utf-8") as file:
            file.write(reason)


def _refused(folder: str) -> str:
    with suppress(OSError, ValueError):
        with open(os.path.join(folder, REFUSED), encoding="utf-8") as file:
            return file.read()
    return ""


def checked(
    spec: EmbedderSpec,
    truth: Callable[[Pixels], Vectors],
    run: Callable[[Pixels], Vectors],
    precision: Precision = "f32",
) -> float:
    """The least cosine of features by Keras and by another runtime, on photographs.

    Raises ExportError where the two are further apart than the precision makes them.
    """
    least, within = LEAST_COSINE[precision], LENGTHS[precision]
    from cbir.images import resize
    from cbir.images.sample import photographs

    pixels = np.stack([resize(p, spec.input_size, spec.resize) for p in photographs(8)])
    wanted, found = truth(pixels), run(pixels)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise ExportError(f"expected features {wanted.shape}; received {found.shape}")
    lengths = np.linalg.norm(wanted, axis=1), np.linalg.norm(found, axis=1)
    both = np.maximum(lengths[0] * lengths[1], np.finfo(np.float32).tiny)
    cosines = np.where(lengths[0] + lengths[1] == 0, 1.0, (wanted * found).sum(axis=1) / both)
    apart = np.abs(lengths[1] - lengths[0]) > within * np.maximum(lengths[0], 1e-6)
    if cosines.min() < least or apart.any():
        raise ExportError(
            f"expected the features that Keras makes (cosine at least {least}, lengths "
            f"within {within:.0%}); received a cosine of {cosines.min():.5f}, lengths "
            f"{np.array2string(lengths[1] / lengths[0], precision=3)} times Keras'"
        )
    return float(cosines.min())


def _by_keras(model: keras.Model) -> Callable[[Pixels], Vectors]:
    import keras

    def run(pixels: Pixels) -> Vectors:
        found: Any = keras.ops.convert_to_numpy(model(pixels, training=False))
        return np.asarray(found, np.float32)

    return run


def _check(card: Mapping[str, Any]) -> str:
    """A hash of what a card says: a flipped bit in it is noticed, too."""
    return hashlib.blake2b(json.dumps(card, sort_keys=True).encode(), digest_size=8).hexdigest()


def _hash(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _put(beside: str, folder: str) -> None:
    """Rename to its place; what was there could not be trusted, or is as good."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        os.replace(beside, folder)
    except OSError:  # another process was quicker
        if not os.path.isdir(folder):
            raise


def _make_room(parent: str, own: str) -> None:
    """Remove exports that were not used for longest, until all of them fit."""
    kept = []
    for name in os.listdir(parent):
        place = os.path.join(parent, name)
        card = os.path.join(place, CARD)
        if place == own or not os.path.isfile(card):
            continue
        size = sum(os.path.getsize(os.path.join(place, f)) for f in os.listdir(place))
        kept.append((os.path.getmtime(card), size, place))
    room = ROOM - sum(os.path.getsize(os.path.join(own, name)) for name in FILES)
    for _, size, place in sorted(kept, reverse=True):
        room -= size
        if room < 0:
            shutil.rmtree(place, ignore_errors=True)
