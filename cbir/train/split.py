"""Which pictures are kept for validation, with nothing like them left to train on.

By class: whole classes are kept out, so that validation asks about things never seen. By image: a
share of each class's pictures. Either way, near-duplicates (found by our own exact search, at a
stated score) never lie on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cbir.config import Settings
from cbir.embed import Projection, fit
from cbir.errors import UsageError
from cbir.types import Ids, Vectors

SplitKind = Literal["auto", "class", "image"]

FEW_CLASSES = 20
"""With fewer, the classes kept for validation would be too few to tell much."""
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class SplitSpec(Settings):
    """How validation pictures are chosen.

    kind       "class": whole classes; "image": pictures of every class with at least two groups;
               "auto": by class where there are at least 20, else by image
    share      of the classes, or of the pictures, 0 to .5; 0: nothing is kept for validation
    duplicate  score (cosine, centred features) from which on two pictures are near-duplicates
    seed       of the choice
    """

    kind: SplitKind = "auto"
    share: float = 0.2
    duplicate: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(SplitKind):
            raise UsageError(
                f"split: expected {', '.join(get_args(SplitKind))}; received {self.kind!r}."
            )
        if not 0 <= self.share <= 0.5:
            raise UsageError(f"validation share: expected 0 to 0.5; received {self.share}.")
        if not 0 < self.duplicate <= 1:
            raise UsageError(
                f"duplicate score: expected more than 0, up to 1; received {self.duplicate}."
            )

    def by_class(self, classes: int) -> bool:
        """Whether whole classes are kept, where there are so many."""
        return self.kind == "class" or (self.kind == "auto" and classes >= FEW_CLASSES)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows int64 of the samples: `train` and `validation`, and `left_out` of both.

    `groups` int64 (n,) numbers the near-duplicate groups of all rows; `duplicates` counts the
    pictures that are in a group with others. `left_out` are those that resemble a picture on the
    other side, and those without a class.
    """

    train: Ids
    validation: Ids
    left_out: Ids
    groups: Ids
    duplicates: int


def duplicate_groups(features: Vectors, score: float) -> Ids:
    """Groups of near-duplicates among features float32 (n, f): int64 (n,), numbered from 0.

    Two rows are joined where the cosine of their centred features is at least `score`; groups are
    the connected components. Exact, in blocks: n² comparisons, memory n. Rows that are equal count
    once: a picture that is there a thousand times costs no more than one.
    """
    _, first, place = np.unique(features, axis=0, return_index=True, return_inverse=True)
    unit = centred(features)[first]
    parent = np.arange(len(unit))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for start in range(0, len(unit), _BLOCK):
        block = unit[start : start + _BLOCK]
        rows, others = np.nonzero(block @ unit[start:].T >= score)
        for a, b in zip((rows + start).tolist(), (others + start).tolist(), strict=True):
            one, other = sorted((find(a), find(b)))
            parent[other] = one
    roots = np.array([first[find(i)] for i in range(len(unit))], np.int64)[place.reshape(-1)]
    return np.unique(roots, return_inverse=True)[1].astype(np.int64).reshape(len(features))


def centred(features: Vectors) -> Vectors:
    """Features (n, f) without their mean, at unit length: as the default index compares them."""
    if len(features) < 3:
        return Projection.none(features.shape[1]).apply(features)
    return fit(features, min(256, features.shape[1])).apply(features)


def split(labels: Ids, groups: Ids, spec: SplitSpec, held: Sequence[int] = ()) -> Split:
    """Choose validation rows. labels int64 (n,), -1 where a picture has none; groups int64 (n,).

    `held` are rows that are for validation in any case: then none is chosen beside them.
    Raises UsageError where the pictures do not suffice: validation needs a class with two groups
    (the query and something to find), training two classes.
    """
    known = labels >= 0
    rng = np.random.default_rng([spec.seed, 5])
    if len(held):
        chosen = np.isin(np.arange(len(labels)), list(held))
    elif spec.share == 0:
        chosen = np.zeros(len(labels), bool)
    elif spec.by_class(len(np.unique(labels[known]))):
        chosen = np.isin(labels, _classes(labels[known], groups[known], spec.share, rng))
    else:
        chosen = _images(labels, groups, spec.share, rng)
    chosen &= known
    mixed = np.isin(groups, groups[chosen]) & ~chosen  # like a validation picture
    train = np.flatnonzero(known & ~chosen & ~mixed)
    made = Split(
        train,
        np.flatnonzero(chosen),
        np.flatnonzero(~known | mixed),
        groups,
        int((np.bincount(groups)[groups] > 1).sum()),
    )
    _check(labels, made, spec)
    return made


def _classes(labels: Ids, groups: Ids, share: float, rng: np.random.Generator) -> Sequence[int]:
    """Classes for validation: at least two where there are four, each with two groups or more."""
    everyone = np.unique(labels)
    fit_to_ask = [c for c in everyone.tolist() if len(np.unique(groups[labels == c])) > 1]
    count = max(2, math.ceil(share * len(everyone))) if len(everyone) >= 4 else 1
    count = min(count, max(2, math.ceil(len(fit_to_ask) / 2)))  # the others are for learning
    if len(everyone) < 3 or len(fit_to_ask) < count:
        raise UsageError(
            "split: expected at least 3 classes, some with two different pictures, to keep whole "
            f"classes for validation; received {len(everyone)} classes, {len(fit_to_ask)} "
            "with two. Use --split image, or --val-share 0 to train without validation."
        )
    return sorted(int(c) for c in rng.permutation(fit_to_ask)[:count])


def _images(labels: Ids, groups: Ids, share: float, rng: np.random.Generator) -> np.ndarray:
    """Whole groups of each class until its share is reached; one group at least stays to train."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels[labels >= 0]).tolist():
        rows = np.flatnonzero(labels == label)
        order = rng.permutation(np.unique(groups[rows]))
        wanted = max(1, round(share * len(rows)))
        taken = 0
        sizes = {int(g): int((groups[rows] == g).sum()) for g in order}
        least = min(sizes.values())
        for group in order.tolist() if len(order) > 1 else []:
            if taken >= wanted:
                break
            members = rows[groups[rows] == group]
            most = max(1.5 * wanted, least)  # a large group goes to the training part
            if taken + len(members) > min(most, len(rows) - 1):
                continue
            chosen[members] = True
            taken += len(members)
    return chosen


def _check(labels: Ids, made: Split, spec: SplitSpec) -> None:
    classes = len(np.unique(labels[made.train]))
    if classes < 2:
        raise UsageError(
            f"split: expected at least 2 classes to train on; received {classes} (and "
            f"{len(made.validation)} pictures for validation). Give more classes, or a smaller "
            "--val-share."
        )
    if spec.share and not len(made.validation):
        raise UsageError(
            "split: expected classes with at least two different pictures, one to be kept for "
            "validation; received none. Use --val-share 0 to train without validation."
        )
