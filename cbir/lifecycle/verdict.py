"""Which of two generations finds more: the same queries to both, paired differences, one rule.

With labels (a metadata column, the folders, a manifest), images of a label are relevant to each
other. Without, edited pictures of a sample ask for their sources. Both generations are asked by
their own search, each with its own projection, so that what is compared is what queries get.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cbir.catalog import Catalog, FeatureCache, default_cache
from cbir.errors import UsageError
from cbir.evaluate.gallery import of_index
from cbir.evaluate.ground_truth import chosen_rows, read_manifest
from cbir.evaluate.index_answers import answered_by
from cbir.evaluate.index_protocol import (
    LABEL,
    Choice,
    IndexTruth,
    from_index,
    from_index_and_manifest,
)
from cbir.evaluate.metrics import mean, paired_difference
from cbir.evaluate.protocol import Answers, per_query
from cbir.evaluate.self_answers import Attempt
from cbir.evaluate.self_queries import SelfOptions, self_queries
from cbir.query import Index, allowed_ids

LEAST = 20
"""Queries with something to find (or edited pictures) that a verdict takes: an interval over fewer
says little."""
QUERIES = 1000
SOURCES = 100

MAIN = "MAP@R"
SHOWN = ("recall@1", "mAP", MAIN)
FRESH = 50
"""Where so many queries with something to find were not learned from, only they are asked."""
SELF_MAIN = "recall@1"
SELF_SHOWN = (SELF_MAIN, "recall@10", "MRR@10")


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of both: means, and the mean of new - old with its paired 95 % interval."""

    metric: str
    old: float
    new: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison says.

    `labels`: where labels are from, "" for self-queries, which count edited pictures as `queries`.
    `units` are what an interval is over: queries, or pictures that were edited. `learned_old` and
    `learned` count those that the old one and the new one learned from, which flatters it; `spared`
    the images that did not ask for that reason.
    """

    protocol: str
    labels: str
    queries: int
    units: int
    gallery: int
    figures: tuple[Figure, ...]
    better: bool
    why: str
    learned_old: int = 0
    learned: int = 0
    spared: int = 0


@dataclass(frozen=True, slots=True)
class Contest:
    """What is asked of both.

    labels        metadata column with the labels; None: `label`, else folders that look like
                  classes, else self-queries
    label_free    self-queries in any case
    manifest      CSV whose pictures are the queries
    query_where   which images (or rows of the manifest) are queries; none: all
    gallery_where which images may be found; none: all
    sample        queries at most, or pictures to edit; None: 1,000, and 100
    """

    labels: str | None = None
    label_free: bool = False
    manifest: str | None = None
    query_where: Sequence[str] = ()
    gallery_where: Sequence[str] = ()
    sample: int | None = None

    def __post_init__(self) -> None:
        asked = self.labels or self.manifest or self.query_where or self.gallery_where
        if self.label_free and asked:
            raise UsageError(
                "--self-queries: expected without --labels, --manifest, --query-where and "
                "--gallery-where, since it needs no labels; received one of them."
            )


def hold(
    old: Index,
    new: Index,
    contest: Contest,
    left_out: Collection[int] = (),
    learned: tuple[frozenset[bytes], frozenset[bytes]] = (frozenset(), frozenset()),
    advance: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Ask both and judge; `left_out` are ids of images that one of the two does not have, `learned`
    the contents that the old one and the new one learned from."""
    if contest.label_free or not _labelled(old.catalog, contest):
        return _by_self_queries(old, new, contest, left_out, learned, advance)
    choice = Choice(
        contest.labels, contest.query_where, contest.gallery_where, frozenset(left_out),
        contest.sample or QUERIES,
    )  # fmt: skip
    if not contest.manifest and not contest.query_where:
        choice = _unlearned(old, choice, learned[0] | learned[1])
    return _by_labels(old, new, contest.manifest, choice, learned, advance)


def _unlearned(index: Index, choice: Choice, learned: frozenset[bytes]) -> Choice:
    """Only what none of the two learned from asks, where there is enough of it."""
    if not learned:
        return choice
    fewer = replace(choice, unasked=learned)
    try:
        truth = from_index(index, fewer).truth
    except UsageError:  # none of them has a label
        return choice
    found = sum(1 for query in truth.queries if len(query.relevant))
    return fewer if found >= min(FRESH, choice.sample or FRESH) else choice


def check_contest(old: Index, contest: Contest) -> None:
    """Say what is wrong with the labels and terms before the work, not after it: UsageError."""
    if not _labelled(old.catalog, contest) or not len(old):
        return
    if contest.manifest is None:
        from_index(old, Choice(contest.labels, contest.query_where, contest.gallery_where,
                               sample=LEAST))  # fmt: skip
    else:
        chosen_rows(read_manifest(contest.manifest, contest.labels or LABEL), contest.query_where)
        allowed_ids(old.catalog, contest.gallery_where)


def steps(catalog: Catalog, contest: Contest) -> int | None:
    """How many steps of progress `hold` has, at most; None where that is not known."""
    if contest.label_free or not _labelled(catalog, contest):
        return min(catalog.count_contents(), contest.sample or SOURCES)
    return None if contest.manifest else 2 * min(catalog.count(), contest.sample or QUERIES)


def _labelled(catalog: Catalog, contest: Contest) -> bool:
    """Whether there are labels: asked for, in the column `label`, or folders that look so."""
    if contest.labels or contest.manifest or contest.query_where or contest.gallery_where:
        return True
    return LABEL in catalog.columns() or folders_are_classes(catalog)


def folders_are_classes(catalog: Catalog) -> bool:
    """Whether most images lie in folders of two to half of all images, three folders at least.

    Folders by date or of downloads may look so too: what the labels were is always reported.
    """
    counted = Counter(
        (row.root, os.path.dirname(row.path)) for row in catalog.rows() if "/" in row.path
    )
    half = catalog.count() / 2
    classes = [n for n in counted.values() if 2 <= n <= half]
    return len(classes) >= 3 and sum(classes) >= half


def _by_labels(
    old: Index,
    new: Index,
    manifest: str | None,
    choice: Choice,
    learned: tuple[frozenset[bytes], frozenset[bytes]],
    advance: Callable[[int], None],
) -> Verdict:
    found: list[IndexTruth] = []
    answers: list[Answers] = []
    for index in (old, new):
        if manifest is None:
            truth = from_index(index, choice)
        else:
            with FeatureCache(default_cache()) as cache:
                truth = from_index_and_manifest(index, manifest, choice, cache, advance)
        found.append(truth)
        answers.append(answered_by(index, truth, advance))
    first, second = (per_query(a) for a in answers)
    _check_same(*answers)
    asked = sum(1 for a in answers[0].answers if a.total)
    figures = tuple(_figure(m, first.get(m, []), second.get(m, [])) for m in SHOWN)
    better, why = judge(figures, MAIN, asked)
    counted = [
        content for content, answer in zip(found[0].contents, answers[0].answers, strict=True)
        if answer.total
    ]  # fmt: skip
    return Verdict(
        found[0].truth.name, found[0].labels, asked, asked, answers[0].gallery, figures, better,
        why, *_known(counted, learned), found[0].spared,
    )  # fmt: skip


def _known(
    contents: Iterable[bytes], learned: tuple[frozenset[bytes], frozenset[bytes]]
) -> tuple[int, int]:
    """How many of these the old one learned from, and the new one."""
    asked = list(contents)
    return sum(c in learned[0] for c in asked), sum(c in learned[1] for c in asked)


def _check_same(old: Answers, new: Answers) -> None:
    if [a.image for a in old.answers] != [a.image for a in new.answers]:
        raise UsageError(
            "manifest: expected pictures that both embedders can read; some could be read for one "
            "of them only. Run `cbir adopt` again, or leave them out with --query-where."
        )


def _by_self_queries(
    old: Index,
    new: Index,
    contest: Contest,
    left_out: Collection[int],
    learned: tuple[frozenset[bytes], frozenset[bytes]],
    advance: Callable[[int], None],
) -> Verdict:
    """The same edited pictures to both: each is decoded once, for the one that needs it larger."""
    galleries = [of_index(index, frozenset(left_out)) for index in (new, old)]
    options = SelfOptions(sample=contest.sample or SOURCES)
    found = self_queries(galleries[0], options, galleries[1], advance)
    by_source: dict[int, list[Attempt]] = {}
    for attempt in found.attempts:
        by_source.setdefault(attempt.source, []).append(attempt)
    figures = []
    for metric in SELF_SHOWN:
        # What is hard in one picture is hard in all of its edits: pictures are drawn, not queries.
        first = [mean(_value(metric, a.floor or 0) for a in one) for one in by_source.values()]
        second = [mean(_value(metric, a.rank) for a in one) for one in by_source.values()]
        figures.append(_figure(metric, first, second))
    better, why = judge(tuple(figures), SELF_MAIN, len(by_source), self_made=True)
    return Verdict(
        f"index {os.path.basename(old.path)}, self-queries", "", len(found.attempts),
        len(by_source), found.images, tuple(figures), better, why,
        *_known((galleries[0].keys[source] for source in by_source), learned),
    )  # fmt: skip


def _value(metric: str, rank: int) -> float:
    """Of a source at this rank among the first ten; 0: it is not there."""
    if metric == "MRR@10":
        return 1 / rank if rank else 0.0
    return float(0 < rank <= int(metric.removeprefix("recall@")))


def _figure(metric: str, old: Sequence[float], new: Sequence[float]) -> Figure:
    return Figure(metric, mean(old), mean(new), *paired_difference(old, new))


def judge(
    figures: Sequence[Figure], main: str, units: int, self_made: bool = False
) -> tuple[bool, str]:
    """Whether the new one is better, and why (not), in a sentence.

    Better is: surely higher in the main metric (the interval of the difference is above 0), and not
    surely lower in recall@1, on 20 queries or more. Equal or unsure is not better, as a swap costs
    the user's habits and thresholds.
    """
    by_name = {figure.metric: figure for figure in figures}
    chief, first = by_name[main], by_name["recall@1"]
    what = "edited pictures" if self_made else "queries with something to find"
    if units < LEAST:
        return False, f"only {units} {what}; a verdict takes {LEAST}"
    if chief.low > 0 and not first.high < 0:
        return True, f"{main} is higher: the interval of the difference lies above 0"
    if chief.low > 0:
        return False, f"{main} is higher, but recall@1 lower: both intervals leave 0 out"
    if chief.high < 0:
        return False, f"{main} is lower: the interval of the difference lies below 0"
    if self_made and chief.old == chief.new == 1:
        return False, "both find the source of every edited picture: that tells nothing apart"
    return False, f"{main} is not surely higher: the interval of the difference holds 0"


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Plain values, for JSON: None where there is no number."""
    return {
        "protocol": verdict.protocol, "labels": verdict.labels or None,
        "queries": verdict.queries, "units": verdict.units, "gallery": verdict.gallery,
        "metrics": {
            f.metric: {"old": _plain(f.old), "new": _plain(f.new),
                       "difference": _plain(f.difference),
                       "interval": [_plain(f.low), _plain(f.high)]}
            for f in verdict.figures
        },
        "better": verdict.better, "why": verdict.why,
        "learned_old": verdict.learned_old, "learned": verdict.learned,
        "spared": verdict.spared,
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return None if value != value else round(value, 6)
