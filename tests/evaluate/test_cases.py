"""Classes, confusions, best and worst queries: by hand and against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cbir.evaluate.answers import Answer, Answers, Pictures
from cbir.evaluate.cases import by_class, confusions, extreme_queries, wilson_interval
from cbir.evaluate.metrics import bootstrap_interval, mean
from cbir.evaluate.protocol import per_query
from tests.evaluate.helpers import labelled

NAN = float("nan")


def made(*rows: tuple[str, str, float, int]) -> Answers:
    """(label, label of the first hit, its score, rank of the first relevant; 0: no relevant)."""
    answers, labels = [], {}
    for i, (label, hit, score, first) in enumerate(rows):
        labels[i], labels[100 + i] = label, hit
        ranks = [first] if first else []
        answers.append(Answer(i, [100 + i], [score], ranks, [0.1] * len(ranks), len(ranks)))
    names = {i: f"{i}.jpg" for i in labels}
    return Answers("t", "x", 50, tuple(answers), pictures=Pictures("/p", names, labels))


def test_confusions_by_hand() -> None:
    answers = made(
        ("cat", "dog", 0.5, 2), ("cat", "dog", 0.7, 3),
        ("cat", "fox", 0.9, 2), ("cat", "cat", 1, 1),
        ("dog", "cat", 0.4, 9), ("dog", "dog", 1, 1),
        ("fox", "fox", 0.9, 1),
        ("elk", "cat", 0.9, 0),  # nothing to find: left out
        ("owl", "dog", 0.3, 2), ("owl", "cat", 0.2, 2),
        ("ant", "cat", 0.1, 2), ("ant", "ant", 1, 1), ("ant", "ant", 1, 1),
    )  # fmt: skip
    found = confusions(answers)
    assert [(c.label, c.taken_for, c.count, c.queries) for c in found] == [
        ("cat", "dog", 2, 4), ("dog", "cat", 1, 2), ("owl", "cat", 1, 2), ("ant", "cat", 1, 3)
    ]  # fmt: skip
    assert found[0].share == 0.5
    assert (found[0].query, found[0].hit) == (1, 101)  # the higher score of the two
    assert (found[2].query, found[2].hit) == (9, 109)  # equally often: by name
    assert confusions(replace(answers, pictures=None)) == []


def test_a_relevant_first_hit_of_another_label_is_no_confusion() -> None:
    assert confusions(made(("cat", "dog", 0.5, 1), ("", "dog", 0.5, 2), ("cat", "", 0.5, 2))) == []


def test_confusions_against_a_plain_loop() -> None:
    _, answers = labelled()
    pictures = answers.pictures
    assert pictures is not None
    found = {c.label: c for c in confusions(answers)}
    for label in {pictures.label(a.image) for a in answers.answers} - {"alone"}:
        firsts = [
            pictures.label(a.hits[0]) for a in answers.answers if pictures.label(a.image) == label
        ]
        wrong = [other for other in firsts if other != label]
        if wrong:
            most = max(sorted(set(wrong)), key=wrong.count)
            got = found.pop(label)
            assert (got.taken_for, got.count) == (most, wrong.count(most))
            assert got.share == wrong.count(most) / len(firsts)
    assert found == {}
    counts = [c.count for c in confusions(answers)]
    assert counts == sorted(counts, reverse=True) and len(counts) >= 3


def test_classes_against_a_plain_loop() -> None:
    _, answers = labelled()
    pictures, ap = answers.pictures, per_query(answers)["mAP"]
    assert pictures is not None
    found, total = by_class(answers, ap, 100)
    assert total == len(found) == 5 and [c.ap for c in found] == sorted(c.ap for c in found)
    for one in found:
        own = [i for i, a in enumerate(answers.answers) if pictures.label(a.image) == one.label]
        assert one.queries == len(own)
        assert one.ap == mean(ap[i] for i in own)
        assert one.ap_interval == bootstrap_interval([ap[i] for i in own])
        hits = [pictures.label(answers.answers[i].hits[0]) == one.label for i in own]
        assert one.recall == sum(hits) / len(own)
        assert one.recall_interval == wilson_interval(sum(hits), len(own))
    few, still = by_class(answers, ap, 2)
    assert few == found[:2] and still == 5
    assert by_class(replace(answers, pictures=None), ap, 9) == ([], 0)


def test_wilson() -> None:
    """Newcombe (1998), table I: 81 of 263 gives .2553 to .3662, 0 of 20 gives 0 to .1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1), abs=5e-5)
    assert all(math.isnan(end) for end in wilson_interval(0, 0))


def test_best_and_worst_by_hand() -> None:
    answers = made(
        ("cat", "cat", 1, 1), ("cat", "dog", 1, 8), ("cat", "dog", 1, 9), ("cat", "dog", 1, 7),
        ("dog", "cat", 1, 4), ("dog", "dog", 1, 1), ("owl", "dog", 1, 0),
    )  # fmt: skip
    ap = [1.0, 0.1, 0.1, 0.2, 0.25, 1.0, NAN]
    assert extreme_queries(answers, ap, 9, best=False, per_class=9) == [2, 1, 3, 4, 0, 5]
    assert extreme_queries(answers, ap, 9, best=False) == [2, 1, 4, 5]
    assert extreme_queries(answers, ap, 2, best=False) == [2, 1]
    assert extreme_queries(answers, ap, 9, best=True) == [0, 5, 4, 3]
    assert extreme_queries(answers, ap, 9, best=True, per_class=1) == [0, 5]
    bare = replace(answers, pictures=None)  # without labels there is no variety to see to
    assert extreme_queries(bare, ap, 9, best=False) == [2, 1, 3, 4, 0, 5]


def test_a_query_whose_relevant_images_never_came_is_the_worst() -> None:
    answers = made(("a", "b", 1, 5), ("b", "a", 1, 5), ("c", "a", 1, 5))
    lost = replace(answers.answers[1], ranks=[], relevant_scores=[])
    answers = replace(answers, answers=(answers.answers[0], lost, answers.answers[2]))
    assert extreme_queries(answers, [0.0, 0.0, 0.2], 3, best=False) == [1, 0, 2]
