"""Raw answers of self-made queries, and the failure profile that follows from them.

As for every protocol, what was answered is stored first and judged afterwards, so that a change of
a number needs neither embedding nor searching again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from cbir.errors import UsageError
from cbir.evaluate.answers import Pictures, listed_pictures, read_pictures
from cbir.evaluate.cases import wilson_interval
from cbir.evaluate.metrics import bootstrap_interval, mean
from cbir.types import Failure

FORMAT = 1
KS = (1, 5, 10)
KINDS: Mapping[str, tuple[str, ...]] = {
    "part": ("crop",),
    "turn": ("flip", "turn", "rotate"),
    "light": ("dark", "light", "contrast", "gamma"),
    "colour": ("grey", "saturation", "warm", "cold", "hue"),
    "quality": ("scale", "blur", "jpeg", "noise"),
    "addition": ("border", "text", "erase"),
}
"""Which edits do the same kind of harm, by the first part of their names."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One edited picture and what it found.

    `source` and `first` are positions of pictures: the one that was edited, and the nearest hit
    (None: there was none), whose score is `first_score`. `rank` is the source's among the first
    ten hits, 0 where it is not there, and `score` its score (NaN). `floor` is its rank by the floor
    system, None where none was asked.
    """

    source: int
    edit: str
    rank: int
    score: float
    first: int | None
    first_score: float
    floor: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SelfAnswers:
    """All attempts on one gallery by one system.

    `images` counts the different pictures of the gallery; `failures` are sources that could not be
    used (they are not stored).
    """

    gallery: str
    system: str
    images: int
    edits: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    pictures: Pictures
    about: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> str:
        """One JSON object; scores with six decimals."""
        whole = {
            "format": FORMAT, "kind": "self-queries", "gallery": self.gallery,
            "system": self.system, "images": self.images, "about": dict(self.about),
            "edits": list(self.edits), "queries": [_row(a) for a in self.attempts],
            "pictures": listed_pictures(self.pictures),
        }  # fmt: skip
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse; UsageError where it is something else, or of a newer format."""
        try:
            whole = json.loads(text)
            if whole["kind"] != "self-queries" or whole["format"] != FORMAT:
                raise UsageError(
                    f"self-queries: expected format {FORMAT}; received {whole['format']}. Update "
                    "cbir."
                )
            pictures = read_pictures(whole["pictures"])
            if pictures is None:
                raise KeyError("pictures")
            return cls(
                whole["gallery"], whole["system"], whole["images"], tuple(whole["edits"]),
                tuple(_attempt(row) for row in whole["queries"]), pictures, whole["about"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"self-queries: expected what a benchmark stored; {error}.") from None

    def moved_to(self, folder: str) -> Self:
        """The same with the pictures looked for in another folder."""
        return replace(self, pictures=self.pictures.moved_to(folder))


def _row(attempt: Attempt) -> dict[str, Any]:
    return {
        "source": attempt.source, "edit": attempt.edit, "rank": attempt.rank,
        "score": _plain(attempt.score), "first": attempt.first,
        "first_score": _plain(attempt.first_score), "floor": attempt.floor,
    }  # fmt: skip


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return Attempt(row["source"], row["edit"], row["rank"], _number(row["score"]), row["first"],
                   _number(row["first_score"]), row["floor"])  # fmt: skip


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Attack:
    """What one edit, or all of one kind, did.

    `recall` is the share of queries whose source is among the first k; `interval` is of recall@1,
    95 %. `source_score` is the mean score of the source where it was among the first ten (NaN:
    never), `floor` the floor's recall@1 on the same pictures (NaN: not asked).
    """

    name: str
    kind: str
    queries: int
    recall: Mapping[int, float]
    interval: tuple[float, float]
    source_score: float
    floor: float


@dataclass(frozen=True, slots=True)
class SelfReport:
    """The failure profile: kinds of edits, and in each its edits, from least harm to most.

    `every` is over all queries. `sources` counts the pictures that were edited.
    """

    every: Attack
    kinds: tuple[tuple[Attack, tuple[Attack, ...]], ...]
    sources: int

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """All edits, from the one that does least harm to the one that does most."""
        return tuple(sorted((a for _, edits in self.kinds for a in edits), key=_order))

    @property
    def recall_at_1(self) -> float:
        """Share of all queries whose source came first."""
        return self.every.recall[1]


def profile(answers: SelfAnswers) -> SelfReport:
    """The failure profile of stored answers: the same answers give the same numbers, always.

    The interval of one edit is Wilson's, which holds where all or none are found. Over several
    edits of the same pictures it is a bootstrap over the pictures: what is hard in one picture is
    hard in all of its edits, so that single queries are not independent; Wilson's over the pictures
    where all or none of the queries are right.
    """
    by_edit: dict[str, list[Attempt]] = {edit: [] for edit in answers.edits}
    for attempt in answers.attempts:
        by_edit[attempt.edit].append(attempt)
    kinds: dict[str, list[str]] = {}
    for edit in answers.edits:
        kinds.setdefault(kind_of(edit), []).append(edit)
    made = []
    for kind, edits in kinds.items():
        single = sorted((_attack(edit, kind, by_edit[edit]) for edit in edits), key=_order)
        whole = _attack("all", kind, [a for edit in edits for a in by_edit[edit]])
        made.append((whole, tuple(single)))
    made.sort(key=lambda pair: _order(pair[0]))
    sources = {attempt.source for attempt in answers.attempts}
    return SelfReport(_attack("all", "", answers.attempts), tuple(made), len(sources))


def kind_of(edit: str) -> str:
    """The kind of an edit; "other" where its name is not known."""
    first = edit.split("-")[0]
    return next((kind for kind, names in KINDS.items() if first in names), "other")


def _attack(name: str, kind: str, attempts: Sequence[Attempt]) -> Attack:
    found = {k: mean(float(0 < a.rank <= k) for a in attempts) for k in KS}
    floor = mean(math.nan if a.floor is None else float(a.floor == 1) for a in attempts)
    return Attack(name, kind, len(attempts), found, _interval(attempts),
                  mean(a.score for a in attempts), floor)  # fmt: skip


def _interval(attempts: Sequence[Attempt]) -> tuple[float, float]:
    by_source: dict[int, list[float]] = {}
    for attempt in attempts:
        by_source.setdefault(attempt.source, []).append(float(attempt.rank == 1))
    if all(len(found) == 1 for found in by_source.values()):
        return wilson_interval(sum(a.rank == 1 for a in attempts), len(attempts))
    means = [mean(found) for found in by_source.values()]
    if set(means) in ({0.0}, {1.0}):  # a bootstrap of equal values says nothing
        return wilson_interval(round(sum(means)), len(means))
    return bootstrap_interval(means)


def _order(attack: Attack) -> tuple[float, float, str]:
    return -attack.recall[1], -attack.recall[10], attack.name


def failed_examples(answers: SelfAnswers, edit: str, count: int, shown: set[int]) -> list[Attempt]:
    """Queries of one edit whose first hit is wrong, the surest of them first, at most `count`.

    Pictures in `shown` come last, so that a page shows many; what is returned is added to it.
    """
    wrong = [a for a in answers.attempts if a.edit == edit and a.rank != 1 and a.first is not None]
    rule: Callable[[Attempt], tuple[bool, float, int]] = lambda a: (  # noqa: E731
        a.source in shown, -a.first_score, a.source,
    )  # fmt: skip
    chosen = sorted(wrong, key=rule)[:count]
    shown.update(a.source for a in chosen)
    return chosen
