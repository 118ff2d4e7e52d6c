"""`cbir benchmark recall --html`: the report's page from stored answers, nothing embedded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cbir.cli.benchmark.common import write_album_page
from cbir.present.numbers import number

if TYPE_CHECKING:
    from cbir.evaluate import Answers
    from cbir.evaluate.cases import ClassScore, Confusion
    from cbir.evaluate.curves import Scores
    from cbir.present.album import Shot
    from cbir.present.recall_page import (
        Case,
        ClassBar,
        Curves,
        Metric,
        Pair,
        RecallReport,
    )
    from cbir.present.recall_plots import Line

HITS = 9
WORST = 8
BEST = 4
PAIRS = 12
CLASSES = 100
"""All classes are shown up to this number, beyond it the lowest `FEW`."""
FEW = 40

MEANINGS = {
    "recall@1": "the first hit is relevant",
    "recall@5": "a relevant image is among the first five",
    "recall@10": "a relevant image is among the first ten",
    "mAP": "precision at every relevant image, rectangle rule",
    "MAP@R": "the same over as many places as are relevant",
    "P@10": "share of relevant images among the first ten",
}


def write_html(file: str, system: Answers, floor: Answers) -> None:
    """Write the report, and say where it is and what it could not show."""
    from cbir.present.recall_page import recall_page

    write_album_page(file, recall_page(report_of(system, floor)))


def report_of(system: Answers, floor: Answers) -> RecallReport:
    """Everything that the page shows, from stored answers alone."""
    from cbir.evaluate import summarise
    from cbir.evaluate.cases import by_class, confusions
    from cbir.evaluate.protocol import per_query
    from cbir.present.recall_page import RecallReport

    values, below = per_query(system), per_query(floor)
    ap = values.get("mAP", [])
    summary = summarise(system)
    some, every = by_class(system, ap, CLASSES)
    pairs = confusions(system)
    return RecallReport(
        protocol=system.protocol,
        system=system.system,
        floor=floor.system,
        queries=summary.queries,
        without_relevant=summary.without_relevant,
        gallery=summary.gallery,
        metrics=_metrics(system, floor, values, below),
        about=_about(system),
        curves=_curves(system, floor) if summary.queries else None,
        classes=_bars(some if every <= CLASSES else some[:FEW], floor, below.get("mAP", [])),
        classes_of=every,
        pairs=tuple(_pair(system, found) for found in pairs[:PAIRS]),
        pairs_of=len(pairs),
        worst=_cases(system, ap, WORST, best=False),
        best=_cases(system, ap, BEST, best=True),
        notes=_notes(system, floor),
        date=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )


def _notes(system: Answers, floor: Answers) -> tuple[str, ...]:
    notes = []
    if not floor.answers:
        notes.append(f"No floor: {floor.about.get('absent', 'it was not measured')}.")
    if system.pictures is None:
        notes.append(
            "These answers were stored by an earlier version of cbir, without paths and labels of "
            "pictures: queries, classes and confusions are not shown. Run the benchmark again to "
            "see them."
        )
    elif not any(system.pictures.labels.values()):
        notes.append("This protocol has no labels, so there are no classes and no confusions.")
    if not system.irrelevant:
        notes.append(
            "The scores of irrelevant images were not kept with these answers: their distribution "
            "is not shown. Run the benchmark again to see it."
        )
    return tuple(notes)


def _metrics(
    system: Answers,
    floor: Answers,
    values: Mapping[str, Sequence[float]],
    below: Mapping[str, Sequence[float]],
) -> tuple[Metric, ...]:
    from cbir.evaluate import bootstrap_interval, mean, paired_difference
    from cbir.present.recall_page import Metric, Value

    same = [a.image for a in system.answers] == [a.image for a in floor.answers]
    made = []
    for name, meaning in MEANINGS.items():
        first, second = list(values.get(name, ())), list(below.get(name, ()))
        gain = paired_difference(second, first) if same else (float("nan"),) * 3
        here, there = (Value(mean(v), *bootstrap_interval(v)) for v in (first, second))
        made.append(Metric(name, meaning, here, there, Value(*gain)))
    return tuple(made)


def _about(system: Answers) -> tuple[tuple[str, str], ...]:
    """What was measured, with what, when; what the answers do not say is left out."""
    from cbir.present import count, human_duration

    about = system.about
    embedder, machine = about.get("embedder") or {}, about.get("machine") or {}
    size = embedder.get("input_size")
    how = (about.get("index_spec") or {}).get("projection")
    if how == "pca" and not about.get("fitted"):
        how = "none: too few images to fit one"
    elif how == "pca":
        how = f"pca, fitted on {count(about['fitted'], 'image')}"
    rows: list[tuple[str, Any]] = [
        ("Protocol", system.protocol),
        ("Labels", about.get("labels")),
        ("Embedder", embedder.get("backbone")),
        ("Weights", embedder.get("weights")),
        ("Cut", embedder.get("cut")),
        ("Pooling", embedder.get("pooling")),
        ("Input", size and f"{size} px, {embedder.get('resize', '')}"),
        ("Projection", how),
        ("Dimensions", about.get("dims")),
        ("Left out", about.get("failures") and f"{count(about['failures'], 'file')} that cannot "
                                               "be used"),
        ("Embedding took", _took(about, "embedding_s", human_duration)),
        ("Ranking took", _took(about, "ranking_s", human_duration)),
        ("Measured on", about.get("date")),
        ("With", machine and f"cbir {machine.get('cbir')}, Python {machine.get('python')}"),
        ("Machine", machine and f"{machine.get('system')}, {machine.get('processor')}, "
                                f"{count(machine.get('cores') or 0, 'core')}"),
    ]  # fmt: skip
    return tuple((name, str(value)) for name, value in rows if value)


def _took(about: Mapping[str, Any], name: str, words: Callable[[float], str]) -> str:
    seconds = about.get(name)
    if seconds is None:
        return ""
    made = about.get("embedded")
    cached = " (all from the cache)" if name == "embedding_s" and made == 0 else ""
    return words(float(seconds)) + cached


def _curves(system: Answers, floor: Answers) -> Curves:
    from cbir.evaluate.curves import coarse, score_split
    from cbir.present.recall_page import Curves
    from cbir.present.recall_plots import Histogram

    scores, below = score_split(system), score_split(floor)
    shown = None
    if scores.auc == scores.auc:
        right, wrong = (coarse(c / c.sum()) for c in (scores.relevant, scores.irrelevant))
        shown = Histogram(right, wrong, scores.threshold)
    return Curves(
        recall=(_recall_line(system), _recall_line(floor)),
        precision=(_precision_line(system), _precision_line(floor)),
        scores=shown,
        facts=_score_facts(scores, below),
    )


def _score_facts(scores: Scores, floor: Scores) -> tuple[tuple[str, str], ...]:
    """AUC, equal error and overlap in words, the floor's in brackets."""
    from cbir.present.numbers import score_text

    def beside(value: float, other: float, percent: bool = False) -> str:
        first, second = (f"{100 * v:.1f}%" if percent else number(v) for v in (value, other))
        return f"{first} (floor {second})" if other == other else first

    return (
        ("pairs, relevant", f"{scores.relevant.sum():,}"),
        ("pairs, irrelevant", f"{scores.irrelevant.sum():,}"),
        ("AUC", beside(scores.auc, floor.auc)),
        ("equal error", beside(scores.equal_error, floor.equal_error, True)),
        ("at the score", score_text(scores.threshold)),
        ("overlap", beside(scores.overlap, floor.overlap)),
    )


def _recall_line(answers: Answers) -> Line:
    import numpy as np

    from cbir.evaluate.curves import recall_curve
    from cbir.present.recall_plots import Line

    found = recall_curve(answers)
    ks = np.arange(1, len(found.recall) + 1, dtype=np.float64)
    return Line(answers.system, ks, found.recall, found.low, found.high)


def _precision_line(answers: Answers) -> Line:
    import numpy as np

    from cbir.evaluate.curves import precision_recall
    from cbir.present.recall_plots import Line

    found = precision_recall(answers)
    none = np.zeros(0)
    return Line(answers.system, found.recall[: len(found.precision)], found.precision, none, none)


def _bars(
    classes: Sequence[ClassScore], floor: Answers, ap: Sequence[float]
) -> tuple[ClassBar, ...]:
    from cbir.evaluate import mean
    from cbir.present.recall_page import ClassBar, Value

    below: dict[str, list[float]] = {}
    if floor.pictures:
        for answer, value in zip(floor.answers, ap, strict=True):
            below.setdefault(floor.pictures.label(answer.image), []).append(value)
    return tuple(
        ClassBar(c.label, c.queries, Value(c.recall, *c.recall_interval),
                 Value(c.ap, *c.ap_interval), mean(below.get(c.label, ())))
        for c in classes
    )  # fmt: skip


def _shot(answers: Answers, position: int, **more: Any) -> Shot:
    from cbir.present.album import Shot

    assert answers.pictures is not None
    return Shot(answers.pictures.path(position), answers.pictures.label(position), **more)


def _pair(answers: Answers, found: Confusion) -> Pair:
    from cbir.present.recall_page import Pair

    query = answers.answers[found.query]
    asked = _shot(answers, query.image, crop=query.crop)
    hit = _shot(answers, found.hit, score=query.scores[0], right=False)
    return Pair(asked, hit, found.count, found.queries)


def _cases(answers: Answers, ap: Sequence[float], most: int, *, best: bool) -> tuple[Case, ...]:
    from cbir.evaluate.cases import extreme_queries

    places = extreme_queries(answers, ap, most, best=best) if answers.pictures else ()
    return tuple(_case(answers, place, ap[place]) for place in places)


def _case(answers: Answers, place: int, ap: float) -> Case:
    from cbir.present.recall_page import Case

    answer = answers.answers[place]
    right = set(answer.ranks)
    hits = tuple(
        _shot(answers, position, rank=rank, score=score, right=rank in right)
        for rank, (position, score) in enumerate(
            zip(answer.hits[:HITS], answer.scores[:HITS], strict=True), start=1
        )
    )
    first = answer.ranks[0] if answer.ranks else None
    later = None
    if first is not None and first > HITS and answer.first is not None:
        score = answer.relevant_scores[0]
        later = _shot(answers, answer.first, rank=first, score=score, right=True)
    query = _shot(answers, answer.image, crop=answer.crop)
    return Case(query, hits, later, ap, first, answer.total)
