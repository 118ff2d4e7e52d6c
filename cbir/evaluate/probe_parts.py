"""Which labelled pictures train and which test, and the draws of few training pictures a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbir.config import ProjectionKind, Settings
from cbir.errors import UsageError
from cbir.evaluate.ground_truth import Truth
from cbir.types import Failure, Ids

ALL = 0
"""As a number of images a class: all of them."""


@dataclass(frozen=True, slots=True)
class ProbeSpec(Settings):
    """What is tried.

    per_class  training images of each class, rising; 0: all of them
    draws      how often they are drawn anew (all of them: once)
    seed       of the draws and of what the heads do at random
    dims, projection  how features become embeddings, as of `IndexSpec`
    """

    per_class: tuple[int, ...] = (1, 2, 5, 10, ALL)
    draws: int = 5
    seed: int = 0
    dims: int = 256
    projection: ProjectionKind = "pca"

    def __post_init__(self) -> None:
        if not self.per_class or min(self.per_class) < 0:
            raise UsageError(
                f"per_class: expected numbers of images from 1 on, or all; received "
                f"{', '.join(map(str, self.per_class)) or 'nothing'}."
            )
        if self.draws < 1:
            raise UsageError(f"draws: expected at least 1; received {self.draws}.")
        if self.seed < 0:
            raise UsageError(f"seed: expected 0 or more; received {self.seed}.")


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Labelled pictures for training and for testing: absolute paths, labels, and for each part
    the positions in them, int64."""

    name: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    train: Ids
    test: Ids


def parts_of(truth: Truth, seed: int = 0) -> Parts:
    """Training part = gallery, test part = queries; where these are the same images, a split.

    The split is stratified and near half: of each class's images, drawn by the seed, the first half
    trains (the larger one where their number is odd). Raises UsageError where the parts share some
    images only, where labels are missing, or where a part is empty.
    """
    test = np.array([query.image for query in truth.queries], np.int64)
    both = np.intersect1d(test, truth.gallery)
    labels = np.array(truth.labels)
    missing = sum(1 for label in truth.labels if not label)
    if missing:
        raise UsageError(
            f"probe: expected a label for every image; {missing} have none. In a folder of "
            "images, each class is a folder of its own."
        )
    if len(both) and len(both) == len(test) == len(truth.gallery):
        train, test = _halves(labels, both, seed)
        name = truth.name.removesuffix(", leave one out") + ", half of each class"
    elif len(both):
        raise UsageError(
            f"probe: expected parts that share no image; {len(both)} are in both. Choose "
            "--train-where and --test-where so that they differ."
        )
    else:
        train, name = truth.gallery, truth.name
    if not len(train) or not len(test):
        raise UsageError(
            "probe: expected images to train on and images to test on; there are "
            f"{len(train)} and {len(test)}. A class needs two images to be in both."
        )
    return Parts(name, truth.paths, truth.labels, train, test)


def _halves(labels: NDArray[np.str_], images: Ids, seed: int) -> tuple[Ids, Ids]:
    rng = np.random.default_rng(seed)
    train: list[int] = []
    for label in np.unique(labels[images]):
        members = rng.permutation(images[labels[images] == label])
        train += members[: (len(members) + 1) // 2].tolist()
    chosen = np.array(sorted(train), np.int64)
    return chosen, np.setdiff1d(images, chosen)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is the same for every embedder: labels as numbers, and which images train when.

    classes int64 (n,) of all pictures; test int64 (t,); draws: images a class → the training
    images of each draw, int64 positions.
    """

    classes: Ids
    test: Ids
    draws: Mapping[int, tuple[Ids, ...]]


def prepare(parts: Parts, spec: ProbeSpec) -> tuple[Task, dict[int, int]]:
    """Numbers for labels, draws of training images; and per size how many classes have fewer.

    Within a draw the images are nested: those of 2 a class are among those of 5. Test images of
    classes that no training image has are left out. UsageError where nothing remains.
    """
    names, classes = np.unique(np.array(parts.labels), return_inverse=True)
    classes = classes.astype(np.int64)
    known = np.isin(classes[parts.test], classes[parts.train])
    if not known.any():
        raise UsageError("probe: expected test images of the classes that are trained; none is.")
    counts = np.bincount(classes[parts.train], minlength=len(names))
    counts = counts[counts > 0]
    draws = {}
    for size in spec.per_class:
        times = 1 if size == ALL else spec.draws
        draws[size] = tuple(_drawn(classes, parts.train, size, spec.seed + t) for t in range(times))
    short = {size: int((counts < size).sum()) for size in spec.per_class if size != ALL}
    return Task(classes, parts.test[known], draws), {s: n for s, n in short.items() if n}


def _drawn(classes: Ids, train: Ids, size: int, seed: int) -> Ids:
    if size == ALL:
        return train
    order = np.random.default_rng(seed).permutation(train)
    kept = [order[classes[order] == name][:size] for name in np.unique(classes[train])]
    return np.sort(np.concatenate(kept))


def without_failed(parts: Parts, bad: Mapping[int, Failure]) -> Parts:
    """The parts without pictures that could not be used, by their positions."""
    out = np.array(sorted(bad), np.int64)
    return dataclasses.replace(
        parts, train=np.setdiff1d(parts.train, out), test=np.setdiff1d(parts.test, out)
    )
