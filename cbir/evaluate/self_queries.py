"""Measuring without labels: queries made from the gallery's own pictures by known edits.

A picture that was cropped, darkened, recompressed ... should find the one it was made from. The
share that does, edit by edit, is a failure profile of an index: it needs no labels, and says
nothing of whether pictures of the same kind are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cbir.embed import sample_rows
from cbir.errors import ImageError, UsageError
from cbir.evaluate.metrics import bootstrap_interval
from cbir.images import DecodeOptions, decode, resize
from cbir.images.edits import EDITS, Edit
from cbir.query import Index
from cbir.types import Failure, Pixels

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Attack:
    """What one edit did: share of queries whose source is among the first k, with an interval.

    `source_score` is the mean score of the source where it was among the first ten (NaN: never).
    """

    name: str
    queries: int
    recall: Mapping[int, float]
    interval: tuple[float, float]
    source_score: float


@dataclass(frozen=True, slots=True)
class SelfReport:
    """All attacks, from the one that does least harm to the one that does most."""

    attacks: tuple[Attack, ...]
    images: int
    failures: tuple[Failure, ...]

    @property
    def recall_at_1(self) -> float:
        """Mean recall@1 over all attacks."""
        return float(np.mean([attack.recall[1] for attack in self.attacks]))


def self_queries(
    index: Index,
    edits: Mapping[str, Edit] | None = None,
    *,
    sample: int = 200,
    seed: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> SelfReport:
    """Ask an index for the sources of edited pictures.

    A hit is right where its content is the source's, byte for byte. The sample of sources depends
    on the seed and on what is in the gallery, not on its order. Files that are not there any more
    are in `failures`. Raises UsageError for an empty index, or where no source can be read.
    """
    used = EDITS if edits is None else edits
    rows = list(index.catalog.rows())
    if not rows:
        raise UsageError(f"self-queries: {index.path} holds no images yet.")
    chosen = [rows[i] for i in sample_rows([row.content for row in rows], sample, seed)]
    ranks: dict[str, list[int]] = {name: [] for name in used}
    scores: dict[str, list[float]] = {name: [] for name in used}
    failures: list[Failure] = []
    for row in chosen:
        try:
            pixels = decode(row.file, DecodeOptions(index.embedder().spec.input_size)).pixels
        except ImageError as error:
            failures.append(Failure(row.file, error.reason))
        else:
            right = set(index.catalog.ids_of_content(row.content))
            for name, rank, score in _asked(index, pixels, used, right):
                ranks[name].append(rank)
                scores[name].append(score)
        advance(1)
    if not any(ranks.values()):
        raise UsageError("self-queries: no picture of the index can be read any more.")
    attacks = sorted((_attack(name, ranks[name], scores[name]) for name in used), key=_order)
    return SelfReport(tuple(attacks), len(chosen) - len(failures), tuple(failures))


def _asked(
    index: Index, pixels: Pixels, edits: Mapping[str, Edit], right: set[int]
) -> list[tuple[str, int, float]]:
    """Edit, rank of the source (0: not among the first ten) and its score, for each edit."""
    embedder = index.embedder()
    spec = embedder.spec
    made = np.stack([resize(edit(pixels), spec.input_size, spec.resize) for edit in edits.values()])
    found_scores, found = index.search(embedder.features(made), max(KS))
    answers = []
    for name, ids, scores in zip(edits, found.tolist(), found_scores.tolist(), strict=True):
        place = next((i for i, image in enumerate(ids) if image in right), None)
        known = place is not None
        answers.append((name, place + 1 if place is not None else 0,
                        scores[place] if known else float("nan")))  # fmt: skip
    return answers


def _attack(name: str, ranks: Sequence[int], scores: Sequence[float]) -> Attack:
    found = {k: float(np.mean([0 < rank <= k for rank in ranks])) for k in KS}
    known = [score for score in scores if score == score]
    first = [float(rank == 1) for rank in ranks]
    mean = float(np.mean(known)) if known else float("nan")
    return Attack(name, len(ranks), found, bootstrap_interval(first), mean)


def _order(attack: Attack) -> tuple[float, float, str]:
    return -attack.recall[1], -attack.recall[10], attack.name
