"""Validation splits: near-duplicates on one side only, whole classes or images, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cbir.errors import UsageError
from cbir.train.split import SplitSpec, centred, duplicate_groups, split
from cbir.types import Ids, Vectors


def looped_groups(features: Vectors, score: float) -> list[set[int]]:
    """Connected components by flooding, pair by pair."""
    unit = centred(features)
    left, groups = set(range(len(unit))), []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            one = edge.pop()
            group.add(one)
            left.discard(one)
            edge |= {j for j in left if float(unit[one] @ unit[j]) >= score}
        groups.append(group)
    return groups


def test_groups_are_connected_components() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(15, 6))
    rows = np.concatenate([base + rng.normal(0, s, base.shape) for s in (0, 0.2, 0.5, 1)])
    features = rows.astype(np.float32)
    for score in (0.5, 0.8, 0.95):
        found = duplicate_groups(features, score)
        groups = [set(np.flatnonzero(found == g).tolist()) for g in range(found.max() + 1)]
        assert sorted(groups, key=min) == looped_groups(features, score)


def test_groups_span_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    whole = duplicate_groups(features, 0.9)
    monkeypatch.setattr("cbir.train.split._BLOCK", 7)
    assert np.array_equal(duplicate_groups(features, 0.9), whole)


def labelled(classes: int, each: int) -> Ids:
    return np.repeat(np.arange(classes), each)


def test_by_class_keeps_whole_classes_and_leaves_out_what_is_like_them() -> None:
    labels = labelled(10, 5)
    groups = np.arange(50)
    spec = SplitSpec("class", 0.2)
    first = split(labels, groups, spec)
    kept = set(labels[first.validation].tolist())
    assert len(kept) == 2 and len(first.validation) == 10
    assert not kept & set(labels[first.train].tolist())
    # One picture of another class resembles a kept one: it is trained on no more.
    groups[first.train[3]] = groups[first.validation[0]]
    again = split(labels, groups, spec)
    assert first.train[3] in again.left_out and first.train[3] not in again.train
    assert again.duplicates == 2
    everything = np.concatenate((again.train, again.validation, again.left_out))
    assert sorted(everything.tolist()) == list(range(50))


def test_by_image_takes_whole_groups_of_every_class_and_leaves_some_to_train() -> None:
    labels = labelled(6, 12)
    groups = np.arange(72) // 2  # pictures come in twos
    made = split(labels, groups, SplitSpec("image", 0.25))
    assert not set(groups[made.train]) & set(groups[made.validation])
    for label in range(6):
        n = int((labels[made.validation] == label).sum())
        assert 2 <= n <= 4
        assert (labels[made.train] == label).any()
    assert not len(made.left_out)


def test_auto_goes_by_the_number_of_classes() -> None:
    many, few = labelled(20, 4), labelled(19, 4)
    by_class = split(many, np.arange(80), SplitSpec())
    assert not set(many[by_class.validation]) & set(many[by_class.train])
    by_image = split(few, np.arange(76), SplitSpec())
    assert set(few[by_image.validation]) <= set(few[by_image.train])


def test_what_is_held_is_validation_and_nothing_else() -> None:
    labels = labelled(4, 4)
    groups = np.arange(16)
    groups[1] = groups[0]
    made = split(labels, groups, SplitSpec(), held=[0, 5])
    assert made.validation.tolist() == [0, 5] and made.left_out.tolist() == [1]


def test_the_seed_decides_and_pictures_without_a_label_are_left_out() -> None:
    labels = labelled(20, 3)
    labels[7] = -1
    groups = np.arange(60)
    same = [split(labels, groups, SplitSpec(seed=4)) for _ in range(2)]
    assert np.array_equal(same[0].validation, same[1].validation)
    others = [split(labels, groups, SplitSpec(seed=s)).validation.tolist() for s in range(6)]
    assert len({tuple(o) for o in others}) > 1
    assert 7 in same[0].left_out
    none = split(labels, groups, SplitSpec(share=0))
    assert not len(none.validation) and len(none.train) == 59


@pytest.mark.parametrize(
    ("labels", "spec", "message"),
    [
        (labelled(2, 5), SplitSpec("class"), "at least 3 classes"),
        (labelled(9, 1), SplitSpec("class"), "two different pictures"),
        (labelled(1, 5), SplitSpec(share=0), "at least 2 classes to train on"),
        (labelled(5, 1), SplitSpec("image"), "one to be kept"),
    ],
)
def test_too_little_is_refused(labels: Ids, spec: SplitSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split(labels, np.arange(len(labels)), spec)


@pytest.mark.parametrize("wrong", [{"kind": "size"}, {"share": 0.6}, {"duplicate": 0}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected .* received"):
        SplitSpec(**wrong)  # type: ignore[arg-type]


def test_many_classes_with_one_picture_leave_few_to_ask_about() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, *range(4, 40)], np.int64)
    made = split(labels, np.arange(len(labels)), SplitSpec("class"))
    assert len(np.unique(labels[made.validation])) == 2
    assert len(made.validation) == 4 and len(made.train) == len(labels) - 4


def test_by_image_a_large_group_stays_to_train_on() -> None:
    labels = np.zeros(51, np.int64)
    labels = np.concatenate((labels, np.ones(10, np.int64)))
    groups = np.concatenate((np.zeros(50, np.int64), np.arange(1, 12)))
    for seed in range(5):
        made = split(labels, groups, SplitSpec("image", 0.2, seed=seed))
        assert (labels[made.train] == 0).sum() == 50
        assert 1 <= (labels[made.validation] == 1).sum() <= 3


def test_many_equal_pictures_are_one_group() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(6, 8)).astype(np.float32)[np.repeat(np.arange(6), 400)]
    order = rng.permutation(2400)
    found = duplicate_groups(features[order], 0.95)
    assert found.max() == 5
    assert all(len(set(found[order // 400 == g].tolist())) == 1 for g in range(6))
