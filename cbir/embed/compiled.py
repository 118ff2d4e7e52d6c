"""An embedder whose network was compiled before: the same features, without Keras.

Importing Keras and TensorFlow and building a network takes seconds, which a query should not wait
for.
"""

from __future__ import annotations

from cbir.config import EmbedderSpec, runtime_choice
from cbir.embed.package import read_learned
from cbir.embed.pictures import PictureEmbedder
from cbir.embed.runtimes.exports import Export, find_export, find_stock_export
from cbir.embed.runtimes.openvino_ir import OpenVinoRuntime
from cbir.embed.runtimes.seam import compiles
from cbir.types import Pixels, Vectors


class CompiledEmbedder(PictureEmbedder):
    """uint8 (n, s, s, 3) → features float32 (n, f), by an export that was checked against Keras.

    `learned` are the contents (16-byte hashes) of the pictures that it learned from.
    """

    def __init__(self, export: Export, learned: frozenset[bytes] = frozenset()) -> None:
        self.spec, self.fingerprint = export.spec, export.fingerprint
        self.learned = learned
        self._dims = export.feature_dims
        self.run_by = OpenVinoRuntime(export.path, export.spec.precision)

    @property
    def feature_dims(self) -> int:
        """f, the length of a feature."""
        return self._dims

    def run(self, pixels: Pixels) -> Vectors:
        """What the network makes of uint8 (n, s, s, 3): float32 (n, f), unchecked."""
        return self.run_by(pixels)


def compiled_stock(spec: EmbedderSpec) -> CompiledEmbedder | None:
    """A stock embedder by its settings, without Keras; None where nothing compiled is there, its
    arrays do not follow from settings, or this process is to run networks otherwise."""
    if spec.weights != "imagenet" or spec.quantised or not compiles(runtime_choice()):
        return None
    export = find_stock_export(spec)
    return None if export is None else CompiledEmbedder(export)


def compiled_embedder(fingerprint: str, saved: str | None = None) -> CompiledEmbedder | None:
    """The embedder of this fingerprint without Keras; None where nothing compiled is there, or this
    process is to run networks otherwise (`cbir.config.runtime_choice`). `saved`: its folder, where
    it has one.

    Raises EmbedderError where that folder is damaged.
    """
    if not compiles(runtime_choice()):
        return None
    export = find_export(fingerprint)
    if export is None:
        return None
    return CompiledEmbedder(export, frozenset() if saved is None else read_learned(saved))
