"""Several descriptors as one: each at unit length, all of equal weight."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Self

import numpy as np

from cbir.config import EmbedderSpec, FeatureExtractor
from cbir.errors import UsageError
from cbir.evaluate.fitting import Fittable
from cbir.images import resize
from cbir.types import Pixels, Vectors


class Combined:
    """Descriptors side by side: the cosine of two rows is the mean of the parts' cosines.

    Parts that learn are fitted together, on the same pictures. Pictures come in the largest of the
    parts' sizes, and are made smaller for the others. UsageError where resize policies differ.
    """

    def __init__(self, name: str, parts: Sequence[FeatureExtractor]) -> None:
        policies = sorted({part.spec.resize for part in parts})
        if len(policies) != 1:
            raise UsageError(
                f"{name}: expected parts of one resize policy; received "
                f"{', '.join(policies) or 'none'}."
            )
        self.parts = tuple(parts)
        size = max(part.spec.input_size for part in parts)
        self.spec = EmbedderSpec(name, "none", input_size=size, resize=policies[0])

    @property
    def recipe(self) -> str:
        """The parts' recipes as one text."""
        parts = [p.recipe if isinstance(p, Fittable) else p.fingerprint for p in self.parts]
        return " + ".join([self.spec.canonical(), *parts])

    @property
    def fitted(self) -> bool:
        """Whether all parts can embed."""
        return all(p.fitted for p in self.parts if isinstance(p, Fittable))

    @property
    def fingerprint(self) -> str:
        """Hash of settings and parts; EmbedderError where a part is not fitted yet."""
        whole = " + ".join([self.spec.canonical(), *(part.fingerprint for part in self.parts)])
        digest = hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()
        return f"{self.spec.backbone}-{digest}"

    @property
    def feature_dims(self) -> int:
        """The parts' lengths together."""
        return sum(part.feature_dims for part in self.parts)

    def fit(self, pixels: Pixels, seed: int = 0) -> Self:
        """Fit the parts that learn on pictures uint8 (n, s, s, 3); a fitted copy."""
        parts = [p.fit(_at(pixels, p), seed) if isinstance(p, Fittable) else p for p in self.parts]
        return type(self)(self.spec.backbone, parts)

    def dump(self) -> bytes:
        """What the parts learnt, each with its length before it."""
        found = [part.dump() for part in self.parts if isinstance(part, Fittable)]
        return b"".join(struct.pack("<Q", len(data)) + data for data in found)

    def restore(self, data: bytes) -> Self:
        """A fitted copy from what `dump` gave; ValueError where that is something else."""
        parts: list[FeatureExtractor] = []
        at = 0
        for part in self.parts:
            if isinstance(part, Fittable):
                if len(data) < at + 8:
                    raise ValueError("not what the parts learnt: it ends too early")
                end = at + 8 + struct.unpack_from("<Q", data, at)[0]
                parts.append(part.restore(data[at + 8 : end]))
                at = end
            else:
                parts.append(part)
        return type(self)(self.spec.backbone, parts)

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → float32 (n, feature_dims), unit length."""
        blocks = [_unit(part.features(_at(pixels, part))) for part in self.parts]
        whole = np.concatenate(blocks, axis=1) / np.sqrt(len(blocks))
        return np.asarray(whole, np.float32)


def _at(pixels: Pixels, part: FeatureExtractor) -> Pixels:
    """The pictures in the size that a part takes."""
    side = part.spec.input_size
    if pixels.shape[1] == side:
        return pixels
    made = [resize(image, side) for image in pixels]
    return np.array(made, np.uint8).reshape(len(pixels), side, side, 3)


def _unit(rows: Vectors) -> Vectors:
    """Unit length; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    made: Vectors = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return made
