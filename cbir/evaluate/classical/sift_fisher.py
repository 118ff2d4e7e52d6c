"""SIFT, then principal components, then Fisher vectors: the classical way to classify photographs.

It learns three things from pictures: the components of the local descriptors, a Gaussian mixture
of them, and nothing of any label. So it is fitted on a gallery before it can embed.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from cbir.config import EmbedderSpec, Settings
from cbir.errors import EmbedderError
from cbir.evaluate.classical.fisher import Mixture, fisher_vector, fit_mixture
from cbir.evaluate.classical.pictures import each
from cbir.evaluate.classical.sift import LENGTH, SiftSpec, dense_sift, grey
from cbir.types import Pixels, Vectors

NAME = "classical/sift-fv"


@dataclass(frozen=True, slots=True)
class FisherSpec(Settings):
    """How local descriptors become one vector.

    pca         principal components that are kept of a local descriptor
    components  of the Gaussian mixture, at most
    places      row, column and size of a patch are part of its descriptor: Sánchez, Perronnin and
                de Campos, Modeling the spatial layout of images beyond spatial pyramids (2012)
    locals      local descriptors of each picture that the fit looks at, at most
    """

    pca: int = 64
    components: int = 64
    places: bool = True
    locals: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class FisherModel:
    """What was learnt, all float32: the local descriptors' mean (128,) and components (p, 128),
    and the mixture's weights (k,), means and variances (k, p or p + 3)."""

    mean: Vectors
    components: Vectors
    weights: Vectors
    means: Vectors
    variances: Vectors

    def to_bytes(self) -> bytes:
        """A NumPy `.npz` without pickle."""
        out = io.BytesIO()
        np.savez(out, **{f.name: getattr(self, f.name) for f in fields(self)})
        return out.getvalue()

    def arrays(self) -> tuple[Vectors, ...]:
        """All arrays, in the order of their names above."""
        return tuple(getattr(self, f.name) for f in fields(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse; ValueError where it is something else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return cls(**{f.name: file[f.name] for f in fields(cls)})
        except Exception as error:  # zipfile, NumPy and zlib each have their own
            raise ValueError(f"not a Fisher model: {error}") from None

    @property
    def mixture(self) -> Mixture:
        """The mixture alone."""
        return Mixture(self.weights, self.means, self.variances)


class SiftFisher:
    """Dense SIFT as improved Fisher vectors: an embedder once it is fitted (`cbir.evaluate.fitted`
    does that for any embedder that learns)."""

    def __init__(
        self,
        sift: SiftSpec | None = None,
        fisher: FisherSpec | None = None,
        model: FisherModel | None = None,
    ) -> None:
        self.sift = sift or SiftSpec()
        self.fisher = fisher or FisherSpec()
        self.model = model
        self.spec = EmbedderSpec(NAME, "none", input_size=160)

    @property
    def recipe(self) -> str:
        """All settings as one text, version first: equal recipes learn alike."""
        return f"{NAME} 1 {self.spec.canonical()} {self.sift.canonical()} {self.fisher.canonical()}"

    @property
    def fitted(self) -> bool:
        """Whether it can embed."""
        return self.model is not None

    @property
    def fingerprint(self) -> str:
        """Hash of recipe and arrays; EmbedderError where nothing is fitted yet."""
        digest = hashlib.blake2b(self.recipe.encode(), digest_size=16)
        for array in self._model().arrays():
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
        return f"{NAME}-{digest.hexdigest()}"

    @property
    def feature_dims(self) -> int:
        """2 x components x length of a reduced local descriptor, as fitted."""
        return self._model().mixture.dims

    def fit(self, pixels: Pixels, seed: int = 0) -> Self:
        """Learn from pictures uint8 (n, s, s, 3); a fitted copy."""
        rng = np.random.default_rng(seed)
        found, where = [np.zeros((0, LENGTH), np.float32)], [np.zeros((0, 3), np.float32)]
        for rows, places in each(lambda image: dense_sift(grey(image), self.sift), pixels):
            drawn = rng.permutation(len(rows))[: self.fisher.locals]
            found.append(rows[drawn])
            where.append(places[drawn])
        rows, places = np.concatenate(found), np.concatenate(where)
        mean, components = _principal(rows, self.fisher.pca)
        mixture = fit_mixture(
            self._reduced(rows, places, mean, components), self.fisher.components, seed
        )
        model = FisherModel(mean, components, mixture.weights, mixture.means, mixture.variances)
        return type(self)(self.sift, self.fisher, model)

    def dump(self) -> bytes:
        """What was learnt, for `restore`; EmbedderError where nothing is fitted yet."""
        return self._model().to_bytes()

    def restore(self, data: bytes) -> Self:
        """A fitted copy from what `dump` gave; ValueError where that is something else."""
        return type(self)(self.sift, self.fisher, FisherModel.from_bytes(data))

    def features(self, pixels: Pixels) -> Vectors:
        """Uint8 (n, s, s, 3) → Fisher vectors float32 (n, feature_dims), unit length; zero for a
        picture without any contrast. EmbedderError where nothing is fitted yet."""
        model = self._model()
        made = each(lambda image: self._encode(image, model), pixels)
        return np.array(made, np.float32).reshape(len(pixels), model.mixture.dims)

    def _encode(self, image: Pixels, model: FisherModel) -> Vectors:
        rows, places = dense_sift(grey(image), self.sift)
        return fisher_vector(
            self._reduced(rows, places, model.mean, model.components), model.mixture
        )

    def _reduced(
        self, rows: Vectors, places: Vectors, mean: Vectors, components: Vectors
    ) -> Vectors:
        reduced = np.asarray((rows - mean) @ components.T, np.float32)
        if not self.fisher.places:
            return reduced
        return np.concatenate([reduced, places], axis=1, dtype=np.float32)

    def _model(self) -> FisherModel:
        if self.model is None:
            raise EmbedderError(
                f"{NAME} learns from pictures: expected it fitted; it is not. Fit it on the "
                "gallery first: cbir.evaluate.fitted(embedder, paths)."
            )
        return self.model


def _principal(rows: Vectors, keep: int) -> tuple[Vectors, Vectors]:
    """Mean (d,) and leading principal components (keep, d), each with its largest entry positive.

    Without any rows: zero, and the first axes.
    """
    if not len(rows):
        return np.zeros(LENGTH, np.float32), np.eye(keep, LENGTH, dtype=np.float32)
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    found = np.linalg.eigh(centred.T @ centred / len(rows))[1][:, ::-1][:, :keep].T
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
    return mean.astype(np.float32), np.ascontiguousarray(found * signs[:, None], np.float32)
