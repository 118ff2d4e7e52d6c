"""From pictures to features: what embedders share, whatever runs their network."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from cbir.config import EmbedderSpec
from cbir.errors import EmbedderError, UsageError
from cbir.types import ImageInput, Pixels, Vectors


class PictureEmbedder(ABC):
    """Pictures → features, by the network that `run` runs."""

    spec: EmbedderSpec
    fingerprint: str

    @property
    @abstractmethod
    def feature_dims(self) -> int:
        """f, the length of a feature."""

    @abstractmethod
    def run(self, pixels: Pixels) -> Vectors:
        """What the network makes of uint8 (n, s, s, 3): float32 (n, f), unchecked."""

    @property
    def is_stock(self) -> bool:
        """Whether name and settings alone are enough to make it again."""
        made_again = self.spec.weights == "imagenet" or self.spec.weights.startswith("random:")
        return made_again and not self.spec.quantised

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
        found = self.run(pixels)
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
