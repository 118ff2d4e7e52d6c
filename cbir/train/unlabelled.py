"""Adapting without labels: pictures get classes of their own, or of clusters; checked label-free.

simclr        each picture (with its near-duplicates) is a class, seen in two random versions: Chen
              et al., A Simple Framework for Contrastive Learning of Visual Representations (ICML
              2020), section 2; instance discrimination as Wu et al. (CVPR 2018)
self-queries  the same with the edits that self-queries make: turns, crops, colour, blur, blocks
clusters      classes are k-means clusters of the plain embedder's features: Caron et al., Deep
              Clustering for Unsupervised Learning of Visual Features (ECCV 2018), section 3.2, with
              one assignment

What counts is whether edited copies of pictures that were not trained on are found better. That
says nothing of whether things of one kind are: where some labels are known, they are asked too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cbir.catalog import FeatureCache
from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.evaluate.ground_truth import Query, Truth
from cbir.images.augment import Augmentation
from cbir.images.edits import EDITS
from cbir.train.freezing import check_layers
from cbir.train.pictures import read_all
from cbir.train.prepared import Prepared, look_at, start_projection
from cbir.train.recipe import Recipe
from cbir.train.samples import Samples
from cbir.train.sampling import BatchSpec
from cbir.train.split import Split, centred, duplicate_groups
from cbir.train.validation import LabelCheck, Validation, edited, validation
from cbir.train.watcher import Watcher
from cbir.types import Ids, Vectors

_STRONG = Augmentation(crop=0.25, colour=0.4, grey=0.2, blur=0.3)
_EDITS = Augmentation(crop=0.36, turn=180, colour=0.4, grey=0.1, blur=0.3, erasing=0.3)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "simclr": {"dims": 256, "loss": "nt-xent", "batch": BatchSpec(32, 2), "augmentation": _STRONG},
    "self-queries": {
        "dims": 256,
        "loss": "nt-xent",
        "batch": BatchSpec(32, 2),
        "augmentation": _EDITS,
    },
    "clusters": {"dims": 256, "loss": "proxy-anchor"},
}
"""Method → what it changes of the default recipe."""

CLUSTER = 12
"""Pictures in a cluster, on average."""
LEAST = 40
SOURCES = 200
"""Validation pictures that are edited, at most; each in `EACH` ways."""
EACH = 3
DISTRACTORS = 1000
"""Pictures of the training part that may be found in their place, at most."""


def preset(method: str, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a method, with what is named changed. UsageError for an unknown method."""
    if method not in PRESETS:
        raise UsageError(f"unlabelled: expected one of {', '.join(PRESETS)}; received {method!r}.")
    return Recipe(**{**PRESETS[method], **changes, "unlabelled": method})


def prepare_unlabelled(
    samples: Samples, base: Embedder, recipe: Recipe, cache: FeatureCache | None, watch: Watcher
) -> Prepared:
    """Base features, groups, classes by the recipe's method, validation by edited copies.

    Labels of the samples are not looked at. UsageError where there are fewer than 40 pictures, or
    where the recipe's layers do not fit the base's network.
    """
    check_layers(base.model, recipe.layers, recipe.train_norms)
    seen = look_at(samples, base, cache, watch)
    kept, features = seen.samples, seen.features
    if len(kept) < LEAST:
        raise UsageError(
            f"unlabelled: expected at least {LEAST} pictures that can be read; received "
            f"{len(kept)}. Add more pictures."
        )
    groups = duplicate_groups(features, recipe.split.duplicate)
    made = _split(groups, recipe)
    labels = _labels(features, groups, made, recipe)
    named = replace(kept, labels=labels)
    asked = _protocol(named, made, recipe) if len(made.validation) else None
    return Prepared(
        named, features, seen.contents, seen.failures, made, asked,
        None if asked is None else _asked_features(asked, named, features, base, watch), 0,
    )  # fmt: skip


def _split(groups: Ids, recipe: Recipe) -> Split:
    """Whole groups for validation, at random."""
    rng = np.random.default_rng([recipe.split.seed, 6])
    wanted = round(recipe.split.share * len(groups))
    chosen: Any = np.zeros(len(groups), bool)
    for group in rng.permutation(groups.max() + 1).tolist():
        if chosen.sum() >= wanted:
            break
        chosen |= groups == group
    return Split(
        np.flatnonzero(~chosen), np.flatnonzero(chosen), np.empty(0, np.int64), groups,
        int((np.bincount(groups)[groups] > 1).sum()),
    )  # fmt: skip


def _labels(features: Vectors, groups: Ids, made: Split, recipe: Recipe) -> tuple[str, ...]:
    """A class for each picture; those of validation pictures are never those of training ones."""
    labels = np.array([f"picture {group:07d}" for group in groups.tolist()], dtype=object)
    if recipe.unlabelled == "clusters":
        rows = made.train
        labels[rows] = [f"cluster {c:05d}" for c in clusters(features[rows], recipe.seed).tolist()]
    return tuple(labels.tolist())


def clusters(features: Vectors, seed: int = 0) -> Ids:
    """k-means of centred unit features float32 (n, f): a cluster's number for each, int64 (n,);
    about 12 pictures each, at least 2 clusters."""
    from sklearn.cluster import KMeans

    unit = centred(features)
    count = max(2, round(len(unit) / CLUSTER))
    return np.asarray(KMeans(count, n_init=1, random_state=seed).fit_predict(unit), np.int64)


def _protocol(samples: Samples, made: Split, recipe: Recipe) -> Validation:
    """Edited copies of validation pictures, asked for in these and some of the training part."""
    rng = np.random.default_rng([recipe.split.seed, 7])
    others = rng.permutation(made.train)[:DISTRACTORS]
    gallery = np.concatenate((made.validation, np.sort(others)))
    sources = np.sort(rng.permutation(len(made.validation))[:SOURCES])
    names = list(EDITS)
    pictures, edits, queries = gallery.tolist(), [""] * len(gallery), []
    for source in sources.tolist():
        junk = np.flatnonzero(made.groups[gallery] == made.groups[gallery[source]])
        for edit in rng.permutation(len(names))[:EACH].tolist():
            queries.append(Query(len(pictures), np.array([source]), np.setdiff1d(junk, [source])))
            pictures.append(int(gallery[source]))
            edits.append(names[edit])
    truth = Truth(
        f"{samples.name}, edited copies of pictures that are not trained on",
        tuple(samples.paths[i] for i in pictures), ("",) * len(pictures),
        np.arange(len(gallery)), tuple(queries),
    )  # fmt: skip
    return Validation(truth, np.array(pictures, np.int64), True, tuple(edits))


def _asked_features(
    asked: Validation, samples: Samples, features: Vectors, base: Embedder, watch: Watcher
) -> Vectors:
    """Base features of the protocol's pictures; those of edited ones are made here."""
    rows = [i for i, edit in enumerate(asked.edits) if edit]
    paths = [samples.paths[asked.pictures[i]] for i in rows]
    watch.stage("Editing pictures", len(paths))
    pixels = read_all(paths, base.spec, 1.0, watch.advance)
    made = features[asked.pictures]
    made[rows] = base.features(edited(pixels, [asked.edits[i] for i in rows]))
    return made


def label_check(
    known: Samples, prepared: Prepared, base: Embedder, trained: Embedder, watch: Watcher
) -> LabelCheck | None:
    """Ask validation pictures for others of their label, by both embedders.

    `known` are the samples with their labels, as they were given; None where no validation picture
    has another of its label.
    """
    label = dict(zip(known.paths, known.labels, strict=True))
    own = replace(prepared.samples, labels=tuple(label[p] for p in prepared.samples.paths))
    rows = np.array([i for i in prepared.split.validation.tolist() if own.labels[i]], np.int64)
    if len(set(own.labels[i] for i in rows.tolist())) < 2:
        return None
    made = replace(prepared.split, validation=rows, train=np.empty(0, np.int64))
    asked = validation(own, made)
    if asked is None or not any(len(q.relevant) for q in asked.truth.queries):
        return None
    before = start_projection(prepared, 256).apply(prepared.features[rows])
    watch.stage("Asking by labels", len(rows))
    paths = [own.paths[i] for i in rows.tolist()]
    pixels = read_all(paths, trained.spec, 1.0, watch.advance)
    after = trained.features(pixels)
    return LabelCheck(asked.answers(before, "before"), asked.answers(after, "after"))
