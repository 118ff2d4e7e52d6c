"""Feature → embedding, fitted on a gallery: centring, principal components, unit length.

No whitening: full whitening ruins category retrieval. Features are centred as they are: scaling
them to unit length first gained nothing that two data sets agreed on. Jégou and Chum, Negative
evidences and co-occurrences in image retrieval (ECCV 2012), sections 3 and 4, for centring and PCA.
NumPy only, outside the compiled network, since it changes with the gallery.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cbir.errors import UsageError
from cbir.types import Vectors

VERSION = 1
FIT_AT = 500
"""Different pictures from which on a gallery has a projection; below: plain unit length."""
SAMPLE = 20_000
"""Features that a projection is fitted on, at most."""
RANK_TOLERANCE = 1e-10
"""Components whose variance is below this share of the largest are noise of the arithmetic."""
_SAME = 1e-14
"""Features whose variance is below this share of their mean's square are alike in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Subtract `mean`, multiply by `components`, scale to unit length.

    mean float32 (f,); components float32 (d, f), orthonormal rows by falling variance, or None
    where nothing was fitted: then an embedding is the feature at unit length. `fitted` is on how
    many features, `explained` which share of their variance is kept.
    """

    mean: Vectors
    components: Vectors | None
    fitted: int = 0
    explained: float = 1.0

    @classmethod
    def none(cls, features: int) -> Self:
        """Plain unit length for features of this length."""
        return cls(np.zeros(features, np.float32), None)

    @property
    def dims(self) -> int:
        """d, the length of an embedding."""
        return len(self.mean) if self.components is None else len(self.components)

    def apply(self, features: Vectors) -> Vectors:
        """Features float32 (n, f) → embeddings float32 (n, d), unit rows.

        A feature that is the mean itself has no direction: its row is zero, its scores are 0.
        Raises UsageError for features of another length.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise UsageError(
                f"features: expected shape (n, {len(self.mean)}); received {features.shape}."
            )
        rows: NDArray[Any] = np.asarray(features, np.float32)
        if self.components is not None:
            rows = (rows - self.mean) @ self.components.T
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        unit = np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0)
        return np.ascontiguousarray(unit, np.float32)

    def to_bytes(self) -> bytes:
        """A NumPy `.npz` without pickle."""
        out = io.BytesIO()
        components = np.empty((0, 0), np.float32) if self.components is None else self.components
        np.savez(
            out,
            version=np.array(VERSION),
            mean=self.mean,
            components=components,
            fitted=np.array(self.fitted),
            explained=np.array(self.explained),
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse; ValueError where the bytes are not a projection."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                version = int(arrays["version"])
                mean, components = arrays["mean"], arrays["components"]
                fitted, explained = int(arrays["fitted"]), float(arrays["explained"])
        except Exception as error:  # zipfile, NumPy and zlib each have their own
            raise ValueError(f"not a projection: {error}") from None
        if version != VERSION:
            raise ValueError(f"version {version}; this cbir reads {VERSION}")
        if mean.dtype != np.float32 or components.dtype != np.float32:
            raise ValueError("its arrays are not float32")
        fits = mean.ndim == 1 and components.ndim == 2
        if not fits or (components.size and components.shape[1] != len(mean)):
            raise ValueError("its arrays do not fit each other")
        if not (np.isfinite(mean).all() and np.isfinite(components).all()):
            raise ValueError("it is not finite")
        return cls(mean, components if components.size else None, fitted, explained)


def fit(features: Vectors, dims: int) -> Projection:
    """Fit on features float32 (n, f): their mean and their leading principal components.

    Fewer than `dims` are kept where the features span fewer; where they span none (all alike),
    the result is `Projection.none`. Deterministic: a component's largest entry is positive.
    """
    n, length = features.shape
    rows = np.asarray(features, np.float64)
    mean = rows.mean(axis=0) if n else np.zeros(length)
    centred = rows - mean
    noise = _SAME * float(mean @ mean)
    if n < length:  # the small Gram matrix has the same spectrum
        values, vectors = np.linalg.eigh(centred @ centred.T / max(1, n))
        values, vectors = values[::-1], vectors[:, ::-1]
        keep = _rank(values, dims, noise)
        components = (centred.T @ vectors[:, :keep]).T
        components /= np.linalg.norm(components, axis=1, keepdims=True)
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred / n)
        values, vectors = values[::-1], vectors[:, ::-1]
        keep = _rank(values, dims, noise)
        components = vectors[:, :keep].T
    if not keep:
        return Projection.none(length)
    return Projection(
        mean.astype(np.float32),
        np.ascontiguousarray(_with_signs(components), np.float32),
        n,
        float(values[:keep].sum() / np.maximum(values, 0).sum()),
    )


def fit_gallery(
    contents: Sequence[bytes], features: Vectors, dims: int, seed: int = 0
) -> Projection:
    """The projection that indexing a gallery gives: contents are hashes, features float32 (n, f).

    Each content counts once; below 500 different ones the result is `Projection.none`.
    """
    first = {key: row for row, key in reversed(list(enumerate(contents)))}
    keys = sorted(first)
    if len(keys) < FIT_AT:
        return Projection.none(features.shape[1])
    rows = [first[keys[row]] for row in sample_rows(keys, SAMPLE, seed)]
    return fit(features[rows], dims)


def _rank(values: NDArray[np.float64], dims: int, noise: float) -> int:
    """How many of the falling eigenvalues count, at most `dims`; none where all are noise."""
    if not len(values) or values[0] <= noise:
        return 0
    return min(dims, int((values > values[0] * RANK_TOLERANCE).sum()))


def _with_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    at = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), at])
    return np.asarray(components * signs[:, None], np.float64)


def sample_rows(keys: Sequence[bytes], size: int, seed: int) -> NDArray[np.int64]:
    """Which rows a sample takes, int64 (m,), m = min(size, len(keys)), rising.

    Those whose key has the smallest seeded hash: so the sample depends on the set of keys, and not
    on their order, and a row that is in stays in while the set grows little.
    """
    return sampled(keys, size, seed)


def sampled(keys: Iterable[bytes], size: int, seed: int) -> NDArray[np.int64]:
    """As `sample_rows`, of keys that come one by one: eight bytes of each are held."""
    salt = seed.to_bytes(8, "little", signed=True)
    marks = bytearray()
    for key in keys:
        marks += hashlib.blake2b(key, digest_size=8, key=salt).digest()
    order = np.argsort(np.frombuffer(bytes(marks), ">u8"), kind="stable")
    return np.sort(order[:size]).astype(np.int64)
