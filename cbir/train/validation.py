"""How good an embedder is on the pictures kept for validation: the protocol, and before/after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.protocol import Answers, per_query, rank
from cbir.images import resize
from cbir.images.edits import EDITS
from cbir.train.samples import Samples
from cbir.train.split import Split
from cbir.types import Ids, Pixels, Vectors

METRICS = ("recall@1", "mAP", "MAP@R")


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Validation pictures as queries. `truth` counts rows of `pictures` (int64, of the samples).

    `by_class`: the queries' classes are not trained on. `edits` names an edit for each picture, ""
    for none; empty where no picture is edited.
    """

    truth: Truth
    pictures: Ids
    by_class: bool
    edits: tuple[str, ...] = ()

    def answers(self, features: Vectors, system: str) -> Answers:
        """Ranked by unit features float32 (m, d) of `pictures`, in their order."""
        queries = features[[q.image for q in self.truth.queries]]
        return rank(self.truth, queries, features[self.truth.gallery], system)


@dataclass(frozen=True, slots=True, eq=False)
class LabelCheck:
    """What known labels say of an embedder that was trained without them: paired answers."""

    before: Answers
    after: Answers


def validation(samples: Samples, made: Split) -> Validation | None:
    """The protocol of a split; None where nothing was kept for it.

    Where the kept classes are not trained on, each of their pictures is asked for in all others of
    them, its near-duplicates (junk) left out. Else the kept pictures are asked for in those that
    are trained on, as they are without random changes.
    """
    if not len(made.validation):
        return None
    numbers = samples.numbers()
    by_class = not set(numbers[made.validation]) & set(numbers[made.train])
    used = made.validation if by_class else np.concatenate((made.validation, made.train))
    gallery = np.arange(0 if by_class else len(made.validation), len(used))
    labels = numbers[used]
    queries = []
    for image in range(len(made.validation)):
        same = gallery[labels[gallery] == labels[image]] - gallery[0]
        if not by_class:
            queries.append(Query(image, same, np.empty(0, np.int64)))
            continue
        groups = made.groups[used]
        junk = np.flatnonzero(groups == groups[image])
        queries.append(Query(image, np.setdiff1d(same, junk), np.setdiff1d(junk, [image]), image))
    truth = Truth(
        f"{samples.name}, validation by {'class' if by_class else 'image'}",
        tuple(samples.paths[i] for i in used), tuple(samples.labels[i] for i in used),
        gallery.astype(np.int64), tuple(queries),
    )  # fmt: skip
    return Validation(truth, used, by_class)


def edited(pixels: Pixels, edits: Sequence[str]) -> Pixels:
    """Pictures uint8 (n, s, s, 3) after their edits ("": as they are), again s x s; a new array."""
    made = pixels.copy()
    for row, name in enumerate(edits):
        if name:
            made[row] = resize(EDITS[name](pixels[row]), pixels.shape[1], "squash")
    return made


def means(answers: Answers) -> dict[str, float]:
    """The metrics' means over queries that have something to find, NaN where none has."""
    values = per_query(answers)
    made = {}
    for name in METRICS:
        row = np.array(values[name], np.float64)
        known = row[~np.isnan(row)]
        made[name] = float(known.mean()) if len(known) else float("nan")
    return made
