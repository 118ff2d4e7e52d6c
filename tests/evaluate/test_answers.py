"""Stored answers: what they keep, that nothing is lost on the way, moved pictures, broken files."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.evaluate.answers import SCORE_BINS, Answers, Pictures, score_counts
from cbir.evaluate.cases import by_class, confusions, extreme_queries
from cbir.evaluate.curves import precision_recall, recall_curve, score_split
from cbir.evaluate.ground_truth import Query, Truth
from cbir.evaluate.protocol import per_query, rank, summarise
from tests.evaluate.helpers import labelled, positions, unlabelled, vectors_of


def report(answers: Answers) -> list[object]:
    """Every number of a report, as plain values that can be compared."""
    ap = per_query(answers)["mAP"]
    curve, precision, scores = (
        recall_curve(answers), precision_recall(answers), score_split(answers),
    )  # fmt: skip
    return [
        summarise(answers), curve.recall.tolist(), curve.low.tolist(), curve.high.tolist(),
        precision.precision.tolist(), scores.relevant.tolist(), scores.irrelevant.tolist(),
        scores.auc, scores.equal_error, scores.threshold, scores.overlap,
        by_class(answers, ap, 100), confusions(answers),
        extreme_queries(answers, ap, 9, best=False), extreme_queries(answers, ap, 9, best=True),
    ]  # fmt: skip


def test_a_report_of_stored_answers_has_the_very_numbers_of_the_first_run() -> None:
    _, answers = labelled()
    again = Answers.from_json(answers.to_json())
    assert report(again) == report(answers)
    assert again.to_json() == answers.to_json()
    assert again.pictures is not None and answers.pictures is not None
    assert [again.pictures.path(i) for i in range(40)] == [
        f"/data/query/{i}.jpg" for i in range(40)
    ]


def test_the_first_relevant_image_and_the_crop_are_kept() -> None:
    made = unlabelled(Query(5, positions(2, 4), positions(1), crop="1,2,3,4"),
                      Query(6, positions(), positions()), n=5)  # fmt: skip
    vectors = vectors_of([str(i) for i in range(7)], seed=3)
    answers = Answers.from_json(rank(made, vectors[:2], vectors[2:], "x").to_json())
    first, second = answers.answers
    nearest = max((2, 4), key=lambda i: float(vectors[0] @ vectors[2 + i]))
    assert (first.first, first.crop) == (nearest, "1,2,3,4")
    assert (second.first, second.crop) == (None, None)


def test_irrelevant_scores_are_counted_without_self_junk_and_relevant_ones() -> None:
    """Against a plain loop over all pairs; several blocks of queries."""
    n = 300
    rng = np.random.default_rng(0)
    labels = [str(i) for i in rng.integers(0, 4, n)]
    vectors = vectors_of(labels)
    queries = []
    for i in range(n):
        same = [j for j in range(n) if labels[j] == labels[i] and j != i]
        queries.append(Query(i, positions(*same[2:]), positions(*same[:2]), i))
    truth = Truth("t", tuple(map(str, range(n))), tuple(labels), positions(*range(n)),
                  tuple(queries))  # fmt: skip
    answers = rank(truth, vectors, vectors, "x")
    wanted = np.zeros(SCORE_BINS, int)
    for i in range(n):
        for j in range(n):
            if labels[i] != labels[j]:
                score = float(vectors[i] @ vectors[j])
                wanted[min(max(math.floor((score + 1) * 1000), 0), 1999)] += 1
    assert sum(answers.irrelevant) == wanted.sum() > 60_000
    # A matrix product rounds as it likes: a score on an edge may fall on either side of it.
    assert np.abs(np.cumsum(answers.irrelevant) - np.cumsum(wanted)).max() <= 2


def test_bins_by_hand() -> None:
    counts = score_counts(np.array([[-1, 1], [0, 0.0004]], np.float32))
    assert counts.sum() == 4 and counts[0] == 1 and counts[-1] == 1 and counts[1000] == 2
    assert score_counts(np.array([-1.0000001, 1.0000002]))[[0, -1]].tolist() == [1, 1]
    assert score_counts(np.zeros((0, 3))).sum() == 0


def test_paths_are_kept_relative_to_what_they_share() -> None:
    names = ("a/1.jpg", "b/2 \udcff.jpg", "b/c/é\n.jpg")
    truth = Truth("t", tuple(f"/set/{name}" for name in names), ("x", "y", ""), positions(0, 1, 2),
                  ())  # fmt: skip
    made = Pictures.of(truth, [2, 0, 1, 1])
    assert made.root == "/set" and tuple(made.names.values()) == names
    assert [made.label(i) for i in (0, 1, 2, 9)] == ["x", "y", "", ""]
    again = Answers.from_json(Answers("t", "x", 3, (), pictures=made).to_json()).pictures
    assert again is not None and again.path(1) == "/set/b/2 \udcff.jpg"
    assert os.fsencode(again.path(1)) == b"/set/b/2 \xff.jpg"
    one = Pictures.of(truth, [0])
    assert one.path(0) == "/set/a/1.jpg"
    assert Pictures.of(truth, []).names == {}


def test_relative_paths_and_paths_without_a_common_folder_stay_whole() -> None:
    truth = Truth("t", ("/a/1.jpg", "2.jpg"), ("", ""), positions(0, 1), ())
    made = Pictures.of(truth, [0, 1])
    assert made.root == "" and [made.path(0), made.path(1)] == ["/a/1.jpg", "2.jpg"]


@pytest.mark.parametrize("end", ["", "photos", "set/photos", "old/set/photos"])
def test_moved_pictures_are_found_below_a_former_folder(tmp_path: Path, end: str) -> None:
    new = tmp_path / "new" / end
    for name in ("a/1.jpg", "b/2.jpg"):
        (new / name).parent.mkdir(parents=True)
        (new / name).touch()
    old = Pictures("/old/set/photos", {0: "a/1.jpg", 5: "b/2.jpg", 6: "b/gone.jpg"}, {})
    moved = old.moved_to(str(tmp_path / "new"))
    assert [moved.path(0), moved.path(5)] == [str(new / "a/1.jpg"), str(new / "b/2.jpg")]


def test_a_folder_without_them_is_taken_as_it_is(tmp_path: Path) -> None:
    old = Pictures("/old/set", {0: "a/1.jpg"}, {0: "x"})
    moved = old.moved_to(str(tmp_path))
    assert moved.path(0) == str(tmp_path / "a/1.jpg") and moved.label(0) == "x"
    whole = Pictures("", {0: "/elsewhere/1.jpg"}, {}).moved_to(str(tmp_path))
    assert whole.path(0) == "/elsewhere/1.jpg"


def test_answers_without_pictures_and_counts() -> None:
    _, answers = labelled()
    bare = replace(answers, pictures=None, irrelevant=())
    again = Answers.from_json(bare.to_json())
    assert again.pictures is None and not len(again.irrelevant)
    assert summarise(again) == summarise(answers)


def test_what_is_no_answers_file_is_said() -> None:
    _, answers = labelled(5, 10)
    text = answers.to_json()
    with pytest.raises(UsageError, match=r"expected format 2 or before; received 3. Update cbir"):
        Answers.from_json(text.replace('"format":2', '"format":3'))
    whole = json.loads(text)
    broken = [{**whole, "answers": [{}]}, {**whole, "pictures": {"root": ""}},
              {**whole, "pictures": {**whole["pictures"], "names": ["a"]}}]  # fmt: skip
    for bad in ("", "{}", "[]", "3", '{"format": null}', text[:-9], *map(json.dumps, broken)):
        with pytest.raises(UsageError, match="answers: expected"):
            Answers.from_json(bad)
