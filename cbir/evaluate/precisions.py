"""What a network's precision gains and costs: speed on this processor, answers on given pictures.

A lower precision changes every feature a little. What counts is whether the answers stay: edited
copies must find their sources as often, and the nearest ten must be nearly the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cbir.config import EmbedderSpec, FeatureExtractor, Precision
from cbir.embed import Projection, fit
from cbir.embed.projection import FIT_AT
from cbir.errors import CbirError, ImageError
from cbir.evaluate.metrics import paired_difference
from cbir.images import DecodeOptions, decode, resize
from cbir.images.edits import EDITS
from cbir.types import Pixels, Vectors

TOLERANCE = 0.01
"""Of recall@1 of edited copies: by so much it may fall, as a mean."""
OVERLAP = 0.9
"""Share of the nearest ten that must stay."""
FASTER = 1.1
"""Times f32's speed below which another precision is not worth it."""
SAMPLE = 512
"""Pictures of the gallery that are looked at, at most."""
SOURCES, EACH = 128, 3
"""Of them so many are edited, in so many ways each."""
LAPS, TIMED = 5, 48


class Recastable(FeatureExtractor, Protocol):
    """An embedder whose network can be computed in another precision."""

    def with_precision(
        self, precision: Precision, pixels: Pixels | None = None
    ) -> FeatureExtractor:
        """The same network in another precision; int8 takes its ranges from the pictures."""
        ...


@dataclass(frozen=True, slots=True)
class PrecisionRow:
    """One precision, measured. NaN where it could not be had: `problem` says why.

    images_per_second  embedding alone, median of laps that take turns with the other precisions
    recall             recall@1 of edited copies among the sample
    difference         of it to f32's, with its paired 95 % interval
    overlap            share of f32's nearest ten that are among its own, mean over the sample
    cosine             the least one between its features and f32's, on the sample
    """

    precision: Precision
    images_per_second: float
    recall: float
    difference: tuple[float, float, float]
    overlap: float
    cosine: float
    problem: str = ""

    def holds(self, tolerance: float = TOLERANCE, overlap: float = OVERLAP) -> bool:
        """Whether its answers are f32's, within the tolerance."""
        return not self.problem and self.difference[0] >= -tolerance and self.overlap >= overlap


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What precisions are compared on: pictures uint8 (n, s, s, 3), edited copies of some of them
    uint8 (q, s, s, 3), and the row of each copy's source, int64 (q,)."""

    pixels: Pixels
    edited: Pixels
    sources: np.ndarray


def material(paths: Sequence[str], spec: EmbedderSpec, seed: int = 0) -> Material:
    """A sample of picture files, at most 512, made ready; broken ones are left out."""
    rng = np.random.default_rng([seed, 11])
    chosen = [paths[i] for i in rng.permutation(len(paths))]
    pixels: list[Pixels] = []
    edited: list[Pixels] = []
    sources: list[int] = []
    names = list(EDITS)
    for path in chosen:
        if len(pixels) >= SAMPLE:
            break
        try:
            whole = decode(path, DecodeOptions(spec.input_size)).pixels
        except ImageError:
            continue
        if len(pixels) < SOURCES:
            for edit in rng.permutation(len(names))[:EACH].tolist():
                sources.append(len(pixels))
                edited.append(resize(EDITS[names[edit]](whole), spec.input_size, spec.resize))
        pixels.append(resize(whole, spec.input_size, spec.resize))
    none = np.empty((0, spec.input_size, spec.input_size, 3), np.uint8)
    return Material(
        np.stack(pixels) if pixels else none, np.stack(edited) if edited else none,
        np.array(sources, np.int64),
    )  # fmt: skip


def measure_precisions(
    embedder: Recastable,
    precisions: Sequence[Precision],
    on: Material,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[list[PrecisionRow], dict[Precision, FeatureExtractor]]:
    """Compare precisions of one embedder (of f32) with f32, which comes first; and the embedders.

    A precision that cannot be had is a row with its `problem`.
    """
    made: dict[Precision, FeatureExtractor] = {"f32": embedder}
    problems: dict[Precision, str] = {}
    for precision in precisions:
        if precision not in made:
            try:
                made[precision] = embedder.with_precision(precision, on.pixels)
            except CbirError as error:
                problems[precision] = str(error)
    speeds = _speeds(made, on.pixels)
    truth = _answers(embedder, on)
    advance(1)
    rows = []
    for precision, other in made.items():
        found = truth if precision == "f32" else _answers(other, on)
        cosines = (truth.unit * found.unit).sum(axis=1)
        rows.append(PrecisionRow(
            precision, speeds[precision], float(np.mean(found.right)) if len(found.right) else 1.0,
            paired_difference(truth.right.tolist(), found.right.tolist()),
            _overlap(truth.nearest, found.nearest), float(cosines.min()) if len(cosines) else 1.0,
        ))  # fmt: skip
        advance(1)
    nan = float("nan")
    return rows + [
        PrecisionRow(p, nan, nan, (nan, nan, nan), nan, nan, why) for p, why in problems.items()
    ], made


def choose_precision(rows: Sequence[PrecisionRow]) -> Precision:
    """The fastest precision whose answers hold, where it is worth it; else f32."""
    plain = next(row for row in rows if row.precision == "f32")
    worth = [
        row for row in rows
        if row.precision != "f32" and row.holds()
        and row.images_per_second >= FASTER * plain.images_per_second
    ]  # fmt: skip
    return max(worth, key=lambda row: row.images_per_second).precision if worth else "f32"


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """Unit features float32 (n, f) of the sample, the nearest ten of each but itself int64
    (n, 10), and whether each edited copy found its source float64 (q,)."""

    unit: Vectors
    nearest: np.ndarray
    right: np.ndarray


def _answers(embedder: FeatureExtractor, on: Material) -> _Answers:
    features = embedder.features(on.pixels)
    plain = Projection.none(embedder.feature_dims)
    projection = fit(features, 256) if len(features) >= FIT_AT else plain
    rows = projection.apply(features)
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, : min(10, max(0, len(rows) - 1))]
    asked = projection.apply(embedder.features(on.edited)) @ rows.T
    first = asked.argmax(axis=1) if asked.size else np.empty(0, np.int64)
    return _Answers(plain.apply(features), nearest, (first == on.sources).astype(np.float64))


def _overlap(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean share of each row of `truth` that is in the same row of `found`."""
    if not truth.size:
        return 1.0
    shares = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(truth, found, strict=True)]
    return float(np.mean(shares))


def _speeds(made: dict[Precision, FeatureExtractor], pixels: Pixels) -> dict[Precision, float]:
    """Images/s of each, median of laps in turn, so that what else runs here meets all alike."""
    part = pixels[:TIMED]
    if not len(part):
        return dict.fromkeys(made, float("nan"))
    for embedder in made.values():
        embedder.features(part[: max(1, len(part) // 2)])
    laps: dict[Precision, list[float]] = {precision: [] for precision in made}
    for _ in range(LAPS):
        for precision, embedder in made.items():
            start = time.perf_counter()
            embedder.features(part)
            laps[precision].append(len(part) / (time.perf_counter() - start))
    return {precision: float(np.median(found)) for precision, found in laps.items()}
