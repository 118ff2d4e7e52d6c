"""Verdicts: of one check, of several, of a training without labels that copies alone checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cbir.cli.finetune_report import sentence
from cbir.embed import Embedder
from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.protocol import Answers, rank
from cbir.train.checkpoint import Progress
from cbir.train.finetune import Outcome
from cbir.train.prepared import Prepared
from cbir.train.recipe import Recipe
from cbir.train.results import comparison, joint_verdict, refused, seen_once, verdict
from cbir.train.samples import Samples
from cbir.train.split import Split
from cbir.train.unlabelled import preset
from cbir.train.validation import LabelCheck

N = 40


def answers(right: int) -> Answers:
    """Forty queries among forty pictures; the first `right` of them find theirs at once."""
    queries = tuple(Query(N + i, np.array([i]), np.array([], np.int64)) for i in range(N))
    truth = Truth("made", ("x",) * 2 * N, ("",) * 2 * N, np.arange(N), queries)
    gallery = np.eye(N, dtype=np.float32)
    asked = np.concatenate((gallery[:right], np.roll(gallery, 1, axis=0)[right:]))
    return rank(truth, asked, gallery, "made")


def outcome(
    tiny: Embedder, before: int | None, after: int | None, labels: tuple[int, int] | None = None,
    twins: int = 0,
) -> Outcome:  # fmt: skip
    none: Any = np.empty(0, np.int64)
    split = Split(np.arange(N), none, none, np.arange(N), twins)
    samples = Samples("made", tuple(f"{i}" for i in range(N)), ("a",) * N)
    ready = Prepared(samples, np.zeros((N, 4), np.float32), (b"",) * N, (), split, None, None, 0)
    check = None if labels is None else LabelCheck(answers(labels[0]), answers(labels[1]))
    return Outcome(
        tiny, ready, Progress(), None if before is None else answers(before),
        None if after is None else answers(after), (0, 0), 0, 0, 0.0, check=check,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(10, 30, "better"), (30, 10, "worse"), (20, 20, "unclear"), (None, None, "unknown")],
)
def test_the_verdict_is_where_the_interval_lies(
    before: int | None, after: int | None, word: str, tiny: Embedder
) -> None:
    made = outcome(tiny, before, after)
    assert verdict(comparison(made)) == joint_verdict(made, Recipe()) == word


@pytest.mark.parametrize(
    ("copies", "labels", "word"),
    [
        ((10, 30), (10, 30), "better"),
        ((10, 30), (20, 20), "better"),
        ((10, 30), (30, 10), "worse"),
        ((30, 10), (10, 30), "worse"),
        ((20, 20), (20, 20), "unclear"),
    ],
)
def test_without_labels_every_check_counts(
    copies: tuple[int, int], labels: tuple[int, int], word: str, tiny: Embedder
) -> None:
    recipe, made = preset("simclr", {}), outcome(tiny, *copies, labels)
    assert joint_verdict(made, recipe) == word and refused(made, recipe) == (word == "worse")
    assert not seen_once(made, recipe)


def test_copies_alone_are_no_proof_where_things_are_seen_once(tiny: Embedder) -> None:
    recipe = preset("simclr", {})
    once, twice = outcome(tiny, 10, 30, twins=3), outcome(tiny, 10, 30, twins=4)
    assert joint_verdict(once, recipe) == "unclear" and joint_verdict(twice, recipe) == "better"
    assert "hardly any two of these pictures" in sentence(once, recipe)
    assert "only labels tell" in sentence(twice, recipe)
    assert joint_verdict(once, Recipe()) == "better"  # with labels nothing else is needed
    same = outcome(tiny, 20, 20)
    assert "the interval includes 0" in sentence(same, recipe)
    worse = replace(same, before=answers(30), after=answers(10))
    assert joint_verdict(worse, recipe) == "worse" and refused(worse, recipe)
