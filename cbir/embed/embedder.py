"""The embedder: one object from uint8 pictures to features, with a fingerprint."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cbir.backbones import check_published, get, truncated
from cbir.config import EmbedderSpec, Precision, ResizePolicy, RuntimeChoice, runtime_choice
from cbir.embed.pictures import PictureEmbedder
from cbir.embed.pooling import pool
from cbir.embed.quiet import quiet
from cbir.embed.runtimes import Runtime
from cbir.embed.runtimes.exports import ExportError, find_export, make_export
from cbir.embed.runtimes.keras_graph import KerasRuntime
from cbir.embed.runtimes.keras_jit import KerasJitRuntime, gpus
from cbir.embed.runtimes.openvino_ir import OpenVinoRuntime
from cbir.embed.runtimes.quantise import LEAST, Quantised, quantise
from cbir.embed.runtimes.seam import compiles, has_openvino
from cbir.errors import EmbedderError, UsageError
from cbir.types import Pixels, Vectors

if TYPE_CHECKING:
    import keras

    from cbir.embed.card import ModelCard


LEAST_INT8 = 0.9
"""Cosine of features of int8 to those of f32, at least, a mean over the pictures it was quantised
with. (EfficientNet-Lite0: .97 to .99; single pictures of flat texture may fall to .65.)"""


def resolve_spec(
    name: str,
    *,
    cut: str = "",
    input_size: int | None = None,
    resize: ResizePolicy | None = None,
    weights_file: str | None = None,
) -> EmbedderSpec:
    """The settings of an embedder by name or folder, without loading Keras.

    Raises UsageError for an unknown name, or for options beside a saved embedder's folder;
    WeightsError for a network that has no published weights.
    """
    if os.path.isdir(name):
        from cbir.embed.package import read_spec

        if cut or input_size is not None or resize or weights_file is not None:
            raise UsageError(
                f"embedder: {name} is a saved embedder, which has all its settings; expected no "
                "--cut, --input-size, --resize or --weights beside it."
            )
        return read_spec(name)
    info = get(name)
    if weights_file is not None and not os.path.isfile(weights_file):
        raise UsageError(f"weights: expected a file; there is none at {weights_file}.")
    if weights_file is None:
        check_published(info)
    return EmbedderSpec(
        backbone=info.name,
        weights="file" if weights_file else "imagenet",
        cut=cut,
        input_size=info.input_size if input_size is None else input_size,
        resize=resize or "squash",
    )


class Embedder(PictureEmbedder):
    """Backbone, cut and pooling as one: uint8 (n, s, s, 3) → features float32 (n, f).

    Make it with `load` (a name or a folder) or `from_spec`. `card` says how it was made, where it
    was trained, and `learned` are the contents (16-byte hashes) of the pictures it learned from.
    `choice` says what runs it: None (for one that has just been made, perhaps to be asked once) is
    Keras; `load` and `from_spec` take what the process has (`cbir.config.runtime_choice`). `notes`
    say what did not go as chosen.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        model: keras.Model,
        card: ModelCard | None = None,
        learned: frozenset[bytes] = frozenset(),
        *,
        choice: RuntimeChoice | None = None,
        quantised: Quantised | None = None,
    ) -> None:
        self.spec = spec
        self.model = model
        self.card = card
        self.learned = learned
        self.fingerprint = fingerprint(spec, model)
        self.quantised = quantised
        self.notes: list[str] = []
        self._choice = choice
        self._runtime: Runtime | None = None

    @classmethod
    def load(
        cls,
        name_or_dir: str | os.PathLike[str],
        *,
        cut: str = "",
        input_size: int | None = None,
        resize: ResizePolicy | None = None,
        weights_file: str | None = None,
    ) -> Self:
        """A stock embedder by its backbone's name, or a saved one from its folder.

        The options are those of `resolve_spec`; a saved embedder takes none.
        Raises UsageError (no such name), WeightsError, EmbedderError (the folder is damaged).
        """
        name = os.fspath(name_or_dir)
        spec = resolve_spec(
            name, cut=cut, input_size=input_size, resize=resize, weights_file=weights_file
        )
        if os.path.isdir(name):
            from cbir.embed.package import load_package

            with quiet():
                package = load_package(name)
            made = cls(package.spec, package.model, package.card, package.learned,
                       choice=runtime_choice(), quantised=package.quantised)  # fmt: skip
            if made.fingerprint != package.fingerprint:
                raise EmbedderError(
                    f"{name}: expected the embedder {package.fingerprint}; its files give "
                    f"{made.fingerprint}. They were changed or damaged: restore them."
                )
            return made
        return cls.from_spec(spec, weights_file)

    @classmethod
    def from_spec(cls, spec: EmbedderSpec, weights_file: str | None = None) -> Self:
        """An embedder from its settings; `weights_file` where they say that weights are a file."""
        with quiet():
            import keras

            start, cut = truncated(spec, weights_file)
            model = keras.Model(start, pool(spec.pooling, cut), name="embedder")
            return cls(spec, model, choice=runtime_choice())

    @property
    def feature_dims(self) -> int:
        """f, the length of a feature."""
        return int(self.model.output_shape[-1])

    def run(self, pixels: Pixels) -> Vectors:
        """What the network makes of uint8 (n, s, s, 3): float32 (n, f), unchecked."""
        return self.run_by(pixels)

    @property
    def run_by(self) -> Runtime:
        """What runs the network; it is chosen (and the network perhaps compiled) on first use."""
        if self._runtime is None:
            self._runtime = self._begin()
        return self._runtime

    def _begin(self) -> Runtime:
        """Choose what runs the network: GPUs where they are wanted and there, else a compiled
        network, else Keras."""
        choice = self._choice
        if choice is None:
            return self._by_keras()
        compiling = compiles(choice)
        devices = [] if compiling else gpus(choice)
        if devices:
            return KerasJitRuntime(self.model, devices, self.spec.precision)
        # the second: the machine has a GPU, but Keras does not find it
        if compiling or (choice == RuntimeChoice() and has_openvino()):
            try:
                return self._compiled()
            except ExportError as error:
                self.notes.append(
                    f"{self.spec.backbone} is run by Keras, since it cannot be compiled: {error}."
                )
        return self._by_keras()

    def _by_keras(self) -> Runtime:
        if self.spec.precision != "f32":
            self.notes.append(
                f"The embedder computes in {self.spec.precision}, but is run by Keras, in f32: "
                "features are nearly the same."
            )
        return KerasRuntime(self.model)

    def _compiled(self) -> Runtime:
        """The network compiled for this processor, now or before; ExportError where it cannot."""
        export = find_export(self.fingerprint)
        if export is None:
            with quiet():
                export = make_export(self.spec, self.model, self.fingerprint, self.quantised)
        return OpenVinoRuntime(export.path, self.spec.precision)

    def with_precision(self, precision: Precision, pixels: Pixels | None = None) -> Embedder:
        """The same network computed in another precision: another embedder, since its features
        differ a little.

        `pixels` uint8 (n, s, s, 3), at least 32: for int8, pictures that its ranges are taken from.
        Raises UsageError where they are missing, what it takes is not installed, or int8 makes
        other features of these pictures.
        """
        if precision != "f32" and not has_openvino():
            raise UsageError(
                f"precision {precision}: expected the package openvino; it is not installed. "
                "`pip install openvino`, or choose f32."
            )
        made: Quantised | None = None
        if precision == "int8":
            size = self.spec.input_size
            given = np.empty((0, size, size, 3), np.uint8) if pixels is None else pixels
            with quiet():
                made = quantise(self.model, given)
        spec = replace(self.spec, precision=precision, quantised=made.digest if made else "")
        other = Embedder(spec, self.model, self.card, self.learned, choice=self._choice,
                         quantised=made)  # fmt: skip
        if pixels is not None and made is not None:
            _check_near(self.features(pixels[:LEAST]), other.features(pixels[:LEAST]))
        return other

    def save(
        self,
        folder: str | os.PathLike[str],
        card: ModelCard | None = None,
        learned: frozenset[bytes] | None = None,
    ) -> None:
        """Write the embedder into a folder that `load` reads; it replaces an embedder there.

        `card` says how it was made, `learned` from which contents; None: what it was loaded with.
        """
        from cbir.embed.package import Package, save_package

        package = Package(
            self.spec, self.model, self.fingerprint, card or self.card,
            self.learned if learned is None else learned, self.quantised,
        )  # fmt: skip
        save_package(os.fspath(folder), package)


def _check_near(wanted: Vectors, found: Vectors) -> None:
    """Some networks do not survive 8 bits: squeeze-excite and swish, to begin with."""
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    cosines = (wanted * found).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    if cosines.mean() < LEAST_INT8:
        raise UsageError(
            f"precision int8: expected features near those of f32 (mean cosine {LEAST_INT8} or "
            f"more) on the pictures that ranges were taken from; received {cosines.mean():.3f}. "
            "This network does not survive it: choose f32 or bf16."
        )


def fingerprint(spec: EmbedderSpec, model: keras.Model) -> str:
    """32 hex digits over the canonical spec and every array: dtype, shape and bytes, in order.

    Names of layers and variables do not count, since Keras numbers them anew in each process.
    """
    digest = hashlib.blake2b(spec.canonical().encode(), digest_size=16)
    for array in model.get_weights():
        plain: Any = np.ascontiguousarray(array)
        digest.update(f"|{plain.dtype.str}{plain.shape}".encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()
