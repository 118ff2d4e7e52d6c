"""Where a system is right and wrong, from stored answers alone: classes, confusions, queries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cbir.evaluate.answers import Answers
from cbir.evaluate.metrics import bootstrap_interval, mean


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class's queries: recall@1 and mAP (rectangle rule), each with a 95 % interval.

    recall@1's interval is Wilson's, which holds for few queries too; mAP's is a bootstrap's.
    """

    label: str
    queries: int
    recall: float
    recall_interval: tuple[float, float]
    ap: float
    ap_interval: tuple[float, float]


def by_class(
    answers: Answers, ap: Sequence[float], most: int, seed: int = 0
) -> tuple[list[ClassScore], int]:
    """The classes of the queries, lowest mAP first, at most `most` of them; and how many there are.

    ap: average precision of each query, NaN without a relevant image (those are left out). Equal
    mAP: lower recall@1 first, then by name. Empty where the answers have no labels.
    """
    found: dict[str, list[int]] = {}
    for place, answer in enumerate(answers.answers):
        label = answers.pictures.label(answer.image) if answers.pictures else ""
        if label and answer.total:
            found.setdefault(label, []).append(place)
    means = {label: mean(ap[i] for i in places) for label, places in found.items()}
    right = {label: sum(_first_is_right(answers, i) for i in places)
             for label, places in found.items()}  # fmt: skip
    order = sorted(found, key=lambda c: (means[c], right[c] / len(found[c]), c))
    made = []
    for label in order[:most]:
        n = len(found[label])
        values = [ap[i] for i in found[label]]
        made.append(ClassScore(
            label, n, right[label] / n, wilson_interval(right[label], n),
            means[label], bootstrap_interval(values, seed),
        ))  # fmt: skip
    return made, len(found)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, `hits` of `n`: Wilson, Probable inference (JASA 1927).

    Unlike a bootstrap it says something where all or none are hits. (NaN, NaN) for n = 0.
    """
    if not n:
        return math.nan, math.nan
    z = 1.959963984540054  # the normal distribution's 97.5 % point
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _first_is_right(answers: Answers, place: int) -> bool:
    ranks = answers.answers[place].ranks
    return bool(ranks) and ranks[0] == 1


@dataclass(frozen=True, slots=True)
class Confusion:
    """Queries of one class whose first hit is of another, wrong one.

    `share` is `count` by the class's `queries` that have a relevant image. The example is the query
    (a place in the answers) whose wrong first hit has the highest score, and that hit's position.
    """

    label: str
    taken_for: str
    count: int
    queries: int
    query: int
    hit: int

    @property
    def share(self) -> float:
        """Of the class's queries."""
        return self.count / self.queries


def confusions(answers: Answers) -> list[Confusion]:
    """For each class the wrong class that is on rank 1 most; most often confused first.

    Equal counts: the larger share first, then by name; of two wrong classes that come equally
    often for one class, the one by name. Queries without a relevant image are left out.
    """
    pictures = answers.pictures
    if pictures is None:
        return []
    queries: Counter[str] = Counter()
    wrong: dict[tuple[str, str], list[int]] = {}
    for place, answer in enumerate(answers.answers):
        label = pictures.label(answer.image)
        if not label or not answer.total:
            continue
        queries[label] += 1
        other = pictures.label(answer.hits[0]) if len(answer.hits) else ""
        if other and other != label and not _first_is_right(answers, place):
            wrong.setdefault((label, other), []).append(place)
    most: dict[str, tuple[str, list[int]]] = {}
    for (label, other), places in sorted(wrong.items()):
        if label not in most or len(places) > len(most[label][1]):
            most[label] = other, places
    made = [_confusion(answers, label, other, places, queries[label])
            for label, (other, places) in most.items()]  # fmt: skip
    return sorted(made, key=lambda c: (-c.count, -c.share, c.label))


def _confusion(
    answers: Answers, label: str, other: str, places: Sequence[int], queries: int
) -> Confusion:
    example = max(places, key=lambda place: (answers.answers[place].scores[0], -place))
    return Confusion(label, other, len(places), queries, example,
                     answers.answers[example].hits[0])  # fmt: skip


def extreme_queries(
    answers: Answers, ap: Sequence[float], count: int, *, best: bool, per_class: int = 2
) -> list[int]:
    """Places of the best or the worst queries: by average precision, then by the first relevant.

    Worst: lowest AP first, then the later first relevant image; best: the reverse; ties by place.
    At most `per_class` of one class are taken, so that variety is seen. Queries without a relevant
    image are left out.
    """

    def order(place: int) -> tuple[float, float, int]:
        ranks = answers.answers[place].ranks
        first = ranks[0] if ranks else math.inf
        return (-ap[place], first, place) if best else (ap[place], -first, place)

    places = [i for i, answer in enumerate(answers.answers) if answer.total]
    taken: list[int] = []
    seen: Counter[str] = Counter()
    for place in sorted(places, key=order):
        label = answers.pictures.label(answers.answers[place].image) if answers.pictures else ""
        if label and seen[label] >= per_class:
            continue
        seen[label] += 1
        taken.append(place)
        if len(taken) == count:
            break
    return taken
