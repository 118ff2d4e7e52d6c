"""Running a protocol: ranks by hand, self and junk, stored answers, plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.evaluate.ground_truth import Query, Truth, from_labels
from cbir.evaluate.protocol import NAMES, Answers, compare, per_query, rank, summarise
from cbir.types import Vectors


def unit(*degrees: float) -> Vectors:
    angles = np.radians(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def positions(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


def truth(*queries: Query, n: int = 5) -> Truth:
    paths = tuple(f"/g/{i}.jpg" for i in range(n + len(queries)))
    return Truth("test", paths, ("",) * len(paths), positions(*range(n)), queries)


def test_ranks_by_hand() -> None:
    """Gallery at 0, 10, 20, 30, 40 degrees, the query at 0."""
    gallery = unit(0, 10, 20, 30, 40)
    made = truth(Query(5, positions(2, 4), positions(1)))
    answer = rank(made, unit(0), gallery, "x").answers[0]
    assert list(answer.hits) == [0, 2, 3, 4]  # the junk at place 1 is out
    assert list(answer.ranks) == [2, 4] and answer.total == 2
    assert answer.scores[1] == pytest.approx(math.cos(math.radians(20)), abs=1e-6)


def test_identical_images_and_the_query_itself() -> None:
    """Three copies: the query is taken out by its place, its copies stay, whatever their order."""
    gallery = unit(0, 0, 0, 50, 60)
    for own in (0, 1, 2):
        others = positions(*(i for i in range(3) if i != own))
        made = truth(Query(own, others, positions(), own))
        answer = rank(made, gallery[own : own + 1], gallery, "x").answers[0]
        assert own not in answer.hits and list(answer.ranks) == [1, 2]


def test_queries_without_relevant_images_are_counted_and_left_out() -> None:
    made = truth(Query(5, positions(0), positions()), Query(6, positions(), positions()))
    found = summarise(rank(made, unit(0, 0), unit(0, 10, 20, 30, 40), "x"))
    assert (found.queries, found.without_relevant) == (1, 1)
    assert found.metrics["recall@1"] == 1 and found.intervals["mAP"] == (1, 1)
    assert math.isnan(per_query(rank(made, unit(0, 0), unit(0, 1, 2, 3, 4), "x"))["mAP"][1])


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    labels = [str(n) for n in rng.integers(0, 4, 60)]
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = from_labels("t", [str(i) for i in range(60)], labels, (range(60), range(60)))
    answers = rank(made, vectors, vectors, "x")
    found = per_query(answers)
    for q in range(60):
        order = sorted((i for i in range(60) if i != q), key=lambda i: -vectors[q] @ vectors[i])
        right = [labels[i] == labels[q] for i in order]
        total = sum(right)
        precision = [sum(right[: i + 1]) / (i + 1) for i in range(59)]
        assert found["mAP"][q] == pytest.approx(
            sum(p for p, r in zip(precision, right, strict=True) if r) / total
        )
        assert found["MAP@R"][q] == pytest.approx(
            sum(p for p, r in list(zip(precision, right, strict=True))[:total] if r) / total
        )
        assert found["recall@5"][q] == float(any(right[:5]))
        assert found["P@10"][q] == pytest.approx(sum(right[:10]) / 10)
        assert found["R-precision"][q] == pytest.approx(sum(right[:total]) / total)
    assert set(found) == set(NAMES)


def test_stored_answers_give_the_same_numbers() -> None:
    rng = np.random.default_rng(1)
    labels = [str(n) for n in rng.integers(0, 3, 30)]
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    made = from_labels("t", [str(i) for i in range(30)], labels, (range(10), range(30)))
    answers = rank(made, vectors[:10], vectors, "x")
    again = Answers.from_json(answers.to_json())
    assert summarise(again) == summarise(answers)
    assert again.to_json() == answers.to_json()


def test_two_systems_are_compared_query_by_query() -> None:
    made = truth(Query(5, positions(1), positions()), Query(6, positions(3), positions()))
    good = rank(made, unit(10, 30), unit(0, 10, 20, 30, 40), "good")
    bad = rank(made, unit(0, 40), unit(0, 10, 20, 30, 40), "bad")
    assert compare(bad, good, "recall@1") == (1, 1, 1)
    assert compare(good, good, "mAP") == (0, 0, 0)
    with pytest.raises(UsageError, match="recall@1"):
        compare(good, bad, "nonsense")
    with pytest.raises(UsageError, match="same queries"):
        compare(good, Answers("t", "x", 5, good.answers[:1]), "mAP")
    with pytest.raises(UsageError, match="expected 2 queries"):
        rank(made, unit(1), unit(0, 1, 2, 3, 4), "x")


def test_a_query_whose_relevant_images_never_came_counts_as_nothing_found() -> None:
    """An index need not return all: what is missing scores 0, and is not left out of the means."""
    made = truth(Query(5, positions(0, 1), positions()))
    answers = rank(made, unit(0), unit(0, 10, 20, 30, 40), "x")
    lost = replace(answers, answers=(replace(answers.answers[0], ranks=[], relevant_scores=[]),))
    found = summarise(lost)
    assert found.queries == 1 and set(found.metrics.values()) == {0}


def test_groups_have_n_s_by_hand() -> None:
    """Two groups of two at 0, 10 and 25, 28 degrees: 0 finds 0, 10; 10 finds itself and 0;
    25 finds 25, 28; 28 finds 28, 25. With 10 moved to 16, it finds 25 before 0."""
    pairs = (positions(0, 1), positions(0, 1), positions(2, 3), positions(2, 3))
    paths = tuple(f"/g/{i}.jpg" for i in range(4))
    queries = tuple(Query(i, pair, positions()) for i, pair in enumerate(pairs))
    made = Truth("pairs", paths, ("0", "0", "1", "1"), positions(0, 1, 2, 3), queries, 2)
    for degrees, expected in (((0, 10, 25, 28), 2.0), ((0, 16, 25, 28), 1.75)):
        vectors = unit(*degrees)
        answers = replace(rank(made, vectors, vectors, "x"), about={"groups": 2})
        found = summarise(answers)
        assert found.metrics["N-S"] == expected
        assert summarise(Answers.from_json(answers.to_json())) == found
    assert "N-S" not in summarise(replace(answers, about={})).metrics
