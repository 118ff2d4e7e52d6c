"""The embedder: one object from uint8 pictures to features, with a fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cbir.backbones import check_published, get, truncated
from cbir.config import EmbedderSpec, ResizePolicy
from cbir.embed.pooling import pool
from cbir.embed.quiet import quiet
from cbir.embed.runtime import KerasRuntime
from cbir.errors import EmbedderError, UsageError
from cbir.types import ImageInput, Pixels, Vectors

if TYPE_CHECKING:
    import keras

    from cbir.embed.card import ModelCard


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


class Embedder:
    """Backbone, cut and pooling as one: uint8 (n, s, s, 3) → features float32 (n, f).

    Make it with `load` (a name or a folder) or `from_spec`. `card` says how it was made, where it
    was trained, and `learned` are the contents (16-byte hashes) of the pictures it learned from.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        model: keras.Model,
        card: ModelCard | None = None,
        learned: frozenset[bytes] = frozenset(),
    ) -> None:
        self.spec = spec
        self.model = model
        self.card = card
        self.learned = learned
        self.fingerprint = fingerprint(spec, model)
        self._run = KerasRuntime(model)

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
            made = cls(package.spec, package.model, package.card, package.learned)
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
            return cls(spec, keras.Model(start, pool(spec.pooling, cut), name="embedder"))

    @property
    def feature_dims(self) -> int:
        """f, the length of a feature."""
        return int(self.model.output_shape[-1])

    @property
    def is_stock(self) -> bool:
        """Whether name and settings alone are enough to make it again."""
        return self.spec.weights == "imagenet" or self.spec.weights.startswith("random:")

    def features(self, pixels: Pixels) -> Vectors:
        """Raw features: uint8 (n, s, s, 3), RGB, 0..255 → float32 (n, f).

        Raises UsageError for another shape or dtype, EmbedderError where a feature is not finite.
        """
        size, pixels = self.spec.input_size, np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            raise UsageError(
                f"pixels: expected uint8 (n, {size}, {size}, 3); received {pixels.dtype} "
                f"{pixels.shape}. `cbir.images.prepare` makes such arrays."
            )
        found = self._run(pixels)
        if not bool(np.isfinite(found).all()):
            raise EmbedderError(
                f"{self.spec.backbone} made a feature that is not finite; expected finite numbers. "
                "Its weights are damaged, or do not belong to it."
            )
        return found

    def embed(self, images: Sequence[ImageInput]) -> Vectors:
        """Unit-length features of pictures (paths, bytes, PIL images, arrays): float32 (n, f).

        Raises ImageError where one cannot be read, UsageError for one that is in no list.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise UsageError(
                f"images: expected a list of pictures; received one {type(images).__name__}. "
                "Put it into brackets: embed([image])."
            )
        from cbir.embed.projection import Projection
        from cbir.images import prepare

        loaded = [prepare(image, self.spec).pixels for image in images]
        size = self.spec.input_size
        pixels = (
            np.stack([p for p in loaded if p is not None])
            if loaded
            else np.empty((0, size, size, 3), np.uint8)
        )
        return Projection.none(self.feature_dims).apply(self.features(pixels))

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
            self.learned if learned is None else learned,
        )  # fmt: skip
        save_package(os.fspath(folder), package)


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
