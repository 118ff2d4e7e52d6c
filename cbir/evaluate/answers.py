"""Raw answers of a protocol: what every query found, and all that metrics and reports need of it.

They are stored first and judged afterwards: every number and every picture of a report follows
from them, so that a change of a metric needs neither embedding nor searching again. The text is
JSON of a stated format (docs/formats.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cbir.errors import UsageError
from cbir.evaluate import metrics
from cbir.evaluate.ground_truth import Truth
from cbir.types import Ids

FORMAT = 2
SCORE_BINS = 2000
"""Equal bins over [-1, 1] in which the scores of irrelevant images are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one query found.

    `hits` are positions of pictures (in `Truth.paths`) by falling score, `scores` their cosines;
    `ranks` are the ranks of all relevant images that were returned, from 1, rising, and
    `relevant_scores` their scores; `total` is how many relevant images the gallery has. `first` is
    the position of the relevant image that came first (None: none came, or it was not kept), and
    `crop` the part of the picture that was asked for ("x,y,w,h"), None for all of it.
    """

    image: int
    hits: Sequence[int]
    scores: Sequence[float]
    ranks: Sequence[int]
    relevant_scores: Sequence[float]
    total: int
    first: int | None = None
    crop: str | None = None

    def flags(self, length: int) -> metrics.Flags:
        """Bool (length,): which of the first places hold a relevant image."""
        made = np.zeros(length, bool)
        ranks = np.asarray(self.ranks, np.int64)
        made[ranks[ranks <= length] - 1] = True
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Paths and labels of the pictures that answers name, by position.

    `names` are relative to the folder `root` (whole paths where it is ""); a label is "" where the
    protocol has none.
    """

    root: str
    names: Mapping[int, str]
    labels: Mapping[int, str]

    def path(self, position: int) -> str:
        """Where the picture is, or was when it was measured."""
        return os.path.join(self.root, self.names[position])

    def label(self, position: int) -> str:
        """The picture's class; "" where there is none."""
        return self.labels.get(position, "")

    def moved_to(self, folder: str) -> Pictures:
        """The same pictures, looked for in another folder.

        `folder` may be the former root, or one of the folders that it lay in: of all ends of the
        old root's path, the one below which most of the pictures are found is taken.
        """
        ends = [""]
        for part in reversed(self.root.replace(os.sep, "/").strip("/").split("/")):
            ends.append(os.path.join(part, ends[-1]) if ends[-1] else part)
        some = list(self.names.values())[:: max(1, len(self.names) // 64)]
        places = [os.path.normpath(os.path.join(folder, end)) for end in ends]
        found = [sum(os.path.isfile(os.path.join(at, name)) for name in some) for at in places]
        return replace(self, root=os.path.abspath(places[int(np.argmax(found))]))

    @classmethod
    def of(cls, truth: Truth, positions: Iterable[int]) -> Pictures:
        """These pictures of a protocol."""
        chosen = sorted(set(positions))
        paths = [truth.paths[i] for i in chosen]
        try:
            root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        except ValueError:  # several drives, or absolute paths beside relative ones
            root = ""
        names = [os.path.relpath(path, root) if root else path for path in paths]
        labels = [truth.labels[i] for i in chosen]
        return cls(root, dict(zip(chosen, names, strict=True)),
                   dict(zip(chosen, labels, strict=True)))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All answers of a protocol by one system, and what is needed to name it.

    `irrelevant` counts the scores of all pairs of a query and an image that is neither relevant to
    it nor junk nor itself, in `SCORE_BINS` bins; empty where they were not counted. `pictures` is
    None where no paths were kept (format 1).
    """

    protocol: str
    system: str
    gallery: int
    answers: tuple[Answer, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    irrelevant: Sequence[int] = ()
    pictures: Pictures | None = None

    def to_json(self) -> str:
        """One JSON object; scores with six decimals."""
        whole = {
            "format": FORMAT, "protocol": self.protocol, "system": self.system,
            "gallery": self.gallery, "about": dict(self.about),
            "answers": [_row(a) for a in self.answers],
            "irrelevant": list(self.irrelevant), "pictures": listed_pictures(self.pictures),
        }  # fmt: skip
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse; UsageError where it is something else, or of a newer format."""
        try:
            whole = json.loads(text)
            if whole["format"] not in (1, FORMAT):
                raise UsageError(
                    f"answers: expected format {FORMAT} or before; received {whole['format']}. "
                    "Update cbir."
                )
            rows = tuple(
                Answer(r["image"], r["hits"], r["scores"], r["ranks"], r["relevant_scores"],
                       r["total"], r.get("first"), r.get("crop"))
                for r in whole["answers"]
            )  # fmt: skip
            return cls(
                whole["protocol"], whole["system"], whole["gallery"], rows, whole["about"],
                whole.get("irrelevant") or (), read_pictures(whole.get("pictures")),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"answers: expected what a benchmark stored; {error}.") from None


def _row(answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image": answer.image, "total": answer.total, "hits": list(answer.hits),
        "ranks": list(answer.ranks), "scores": [round(s, 6) for s in answer.scores],
        "relevant_scores": [round(s, 6) for s in answer.relevant_scores],
    }  # fmt: skip
    if answer.first is not None:
        row["first"] = answer.first
    if answer.crop is not None:
        row["crop"] = answer.crop
    return row


def listed_pictures(pictures: Pictures | None) -> dict[str, Any] | None:
    """Pictures as plain values, for JSON."""
    if pictures is None:
        return None
    return {
        "root": pictures.root, "positions": list(pictures.names),
        "names": [name.replace(os.sep, "/") for name in pictures.names.values()],
        "labels": [pictures.label(i) for i in pictures.names],
    }  # fmt: skip


def read_pictures(listed: Mapping[str, Any] | None) -> Pictures | None:
    """The inverse of `listed_pictures`."""
    if listed is None:
        return None
    places = listed["positions"]
    return Pictures(listed["root"], dict(zip(places, listed["names"], strict=True)),
                    dict(zip(places, listed["labels"], strict=True)))  # fmt: skip


def score_counts(scores: NDArray[np.floating[Any]]) -> Ids:
    """How many scores, any shape, are in each of the `SCORE_BINS` bins over [-1, 1]: int64.

    A bin holds its lower edge; the last holds 1 too, and what rounding put beyond the ends is
    counted in the bins at the ends.
    """
    place = np.floor((np.ravel(scores).astype(np.float64) + 1) * (SCORE_BINS / 2)).astype(np.int64)
    found = np.bincount(np.clip(place, 0, SCORE_BINS - 1), minlength=SCORE_BINS)
    return np.asarray(found, np.int64)
