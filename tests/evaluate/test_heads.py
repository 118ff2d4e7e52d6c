"""Heads against plain loops and scikit-learn, and where there is little to learn from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from cbir.evaluate import heads
from cbir.evaluate.heads import HEADS, folds, linear_svm, nearest_neighbours, vote
from cbir.types import Ids, Vectors


def clouds(n: int, classes: int = 3, noise: float = 0.3, dims: int = 8) -> tuple[Vectors, Ids]:
    """n points around each of some directions, unit rows."""
    rng = np.random.default_rng(0)
    middles = np.eye(classes, dims)
    labels = np.repeat(np.arange(classes), n)
    rows = middles[labels] + rng.normal(0, noise, (len(labels), dims))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_clouds_are_told_apart(name: str, n: int) -> None:
    rows, labels = clouds(n, noise=0.05)
    asked, right = clouds(30, noise=0.1)
    made = HEADS[name](rows, labels, 0)
    found = made.predict(asked)
    assert found.dtype == np.int64 and (found == right).mean() > 0.95
    assert made.chosen.startswith(("C=", "k="))
    assert np.array_equal(HEADS[name](rows, labels, 0).predict(asked), found)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_one_class_and_classes_of_one_image_among_others(name: str) -> None:
    rows, _ = clouds(4)
    only = HEADS[name](rows, np.full(12, 2, np.int64), 0)
    assert only.predict(rows).tolist() == [2] * 12 and only.chosen == "one class"
    uneven = np.array([0] * 6 + [1] * 5 + [2], np.int64)
    assert set(HEADS[name](rows, uneven, 0).predict(rows).tolist()) <= {0, 1, 2}


def test_votes_against_a_plain_loop_and_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(-1, 1, (40, 12)).astype(np.float32)
    labels = rng.integers(0, 4, 12)
    for k in (1, 2, 3, 5, 12, 99):
        for row, found in zip(scores, vote(scores, labels, k).tolist(), strict=True):
            near = sorted(range(12), key=lambda i: -row[i])[:k]
            count = Counter(int(labels[i]) for i in near)
            sums = {c: sum(float(row[i]) for i in near if labels[i] == c) for c in count}
            best = max(count, key=lambda c: (count[c], sums[c]))
            assert (count[found], sums[found]) == (count[best], sums[best])
    rows, classes = clouds(20)
    asked, _ = clouds(9, noise=0.5)
    theirs = KNeighborsClassifier(5, metric="cosine").fit(rows, classes).predict(asked)
    assert (vote(asked @ rows.T, classes, 5) == theirs).mean() > 0.95  # ties differ


def test_k_is_the_best_of_leave_one_out() -> None:
    """Two clouds with every fourth label wrong: one neighbour is misled, many are not."""
    rows, labels = clouds(40, classes=2, noise=0.1)
    labels[::4] = 1 - labels[::4]
    made = nearest_neighbours(rows, labels, 0)
    k = int(made.chosen.removeprefix("k="))
    scores = rows @ rows.T
    right = {}
    for tried in heads.NEIGHBOURS:
        hits = 0
        for i in range(len(rows)):
            others = [j for j in sorted(range(len(rows)), key=lambda j: -scores[i, j]) if j != i]
            votes = Counter(int(labels[j]) for j in others[:tried])
            hits += votes.most_common(1)[0][0] == labels[i]
        right[tried] = hits
    assert k > 1 and right[k] == max(right.values())


def test_c_is_chosen_on_the_training_part_alone() -> None:
    rows, labels = clouds(15, noise=0.6)
    chosen = linear_svm(rows, labels, 0).chosen
    assert chosen in {f"C={c:g}" for c in heads.COSTS}
    few, few_labels = clouds(1)
    assert linear_svm(few, few_labels, 0).chosen == "C=1"  # nothing to choose by


def test_an_svm_in_the_span_of_its_rows_is_the_same_svm(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = clouds(4, noise=0.2, dims=200)
    asked, _ = clouds(20, noise=0.3, dims=200)
    short = linear_svm(rows, labels, 0)
    monkeypatch.setattr(heads, "_span", lambda _: None)
    whole = linear_svm(rows, labels, 0)
    assert short.chosen == whole.chosen
    assert np.array_equal(short.predict(asked), whole.predict(asked))


def test_folds_deal_each_class_and_spare_the_only_image() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] + [3] * 3, np.int64)
    found = folds(labels, 3, 0)
    assert found[9] == -1 and (found[labels != 2] >= 0).all()
    for name, members in ((0, 7), (1, 2), (3, 3)):
        dealt = np.bincount(found[labels == name], minlength=3)
        assert dealt.sum() == members and dealt.max() - dealt.min() <= 1
    assert np.array_equal(found, folds(labels, 3, 0))
    assert not np.array_equal(found, folds(labels, 3, 1))
