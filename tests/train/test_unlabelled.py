"""Classes without labels, and the checks of what they teach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.train.prepared import base_answers
from cbir.train.samples import Samples, from_folders
from cbir.train.split import SplitSpec
from cbir.train.unlabelled import clusters, label_check, prepare_unlabelled, preset
from cbir.train.validation import means
from tests.train.test_finetune import Quiet

CHANGES = {"split": SplitSpec(duplicate=0.99999), "dims": 8}


def test_clusters_are_those_that_are_there() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 8)) * 9
    rows = (centres.repeat(12, 0) + rng.normal(size=(60, 8))).astype(np.float32)
    found = clusters(rows)
    assert len(set(found.tolist())) == 5
    for start in range(0, 60, 12):
        assert len(set(found[start : start + 12].tolist())) == 1
    assert np.array_equal(found, clusters(rows))


@pytest.mark.parametrize("method", ["simclr", "clusters", "self-queries"])
def test_classes_come_from_the_method_and_never_from_labels(
    classes_of: Callable[..., Path], tiny: Embedder, method: str
) -> None:
    samples = from_folders(str(classes_of()))
    copy = (samples.paths[0], samples.paths[1])
    Path(copy[1]).write_bytes(Path(copy[0]).read_bytes())
    recipe = preset(method, CHANGES)
    ready = prepare_unlabelled(samples, tiny, recipe, None, Quiet())
    bare = Samples("x", samples.paths, ("",) * 54)
    again = prepare_unlabelled(bare, tiny, recipe, None, Quiet())
    assert ready.samples.labels == again.samples.labels
    assert not set(ready.samples.labels) & set(samples.labels)
    train, kept = ready.split.train, ready.split.validation
    assert len(kept) == 11 and not set(train) & set(kept)
    groups = ready.split.groups
    assert groups[0] == groups[1] and not set(groups[train]) & set(groups[kept])
    classes = {ready.samples.labels[i] for i in train}
    assert len(classes) == (4 if method == "clusters" else len(set(groups[train])))
    assert not classes & {ready.samples.labels[i] for i in kept}


def test_edited_copies_ask_for_their_source(
    classes_of: Callable[..., Path], tiny: Embedder
) -> None:
    ready = prepare_unlabelled(
        from_folders(str(classes_of())), tiny, preset("simclr", CHANGES), None, Quiet()
    )
    asked = ready.validation
    assert asked is not None and ready.asked is not None
    assert len(asked.truth.queries) == 33 and len(asked.truth.gallery) == 54
    assert len(asked.pictures) == len(asked.edits) == len(ready.asked) == 54 + 33
    for query in asked.truth.queries:
        (source,) = query.relevant.tolist()
        assert asked.pictures[source] == asked.pictures[query.image]
        assert asked.edits[query.image] and not asked.edits[source]
    before = base_answers(ready)
    assert before is not None and 0 < means(before)["mAP"] <= 1
    plain = ready.features[asked.pictures[:54]]
    assert np.array_equal(ready.asked[:54], plain)
    assert not np.allclose(ready.asked[54:], ready.features[asked.pictures[54:]])


def test_known_labels_check_the_result(classes_of: Callable[..., Path], tiny: Embedder) -> None:
    samples = from_folders(str(classes_of()))
    recipe = preset("simclr", {**CHANGES, "split": SplitSpec(share=0.5, duplicate=0.99999)})
    ready = prepare_unlabelled(samples, tiny, recipe, None, Quiet())
    found = label_check(samples, ready, tiny, tiny, Quiet())
    assert found is not None
    asked = [a.image for a in found.before.answers]
    assert asked == [a.image for a in found.after.answers] and len(asked) == 27
    assert found.before.pictures is not None
    assert found.before.pictures.label(asked[0]).startswith("class")
    bare = replace(samples, labels=("",) * 54)
    assert label_check(bare, ready, tiny, tiny, Quiet()) is None


def test_unknown_methods_and_few_pictures_are_refused(
    classes_of: Callable[..., Path], tiny: Embedder
) -> None:
    with pytest.raises(UsageError, match="expected one of simclr"):
        preset("byol", {})
    few = from_folders(str(classes_of(3, 4)))
    with pytest.raises(UsageError, match="at least 40 pictures"):
        prepare_unlabelled(few, tiny, preset("simclr", {}), None, Quiet())
