"""Samples made ready for training: read once by the base embedder, grouped, split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cbir.catalog import FeatureCache
from cbir.config import IndexSpec
from cbir.embed import Embedder, Projection, fit
from cbir.errors import UsageError
from cbir.evaluate.embedding import embed_files
from cbir.evaluate.protocol import Answers
from cbir.train.freezing import check_layers
from cbir.train.recipe import Recipe
from cbir.train.samples import Samples
from cbir.train.split import Split, duplicate_groups, split
from cbir.train.validation import Validation, validation
from cbir.train.watcher import Watcher
from cbir.types import Failure, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Samples that could be read, base features float32 (n, f), the split and its protocol.

    `asked` are the base features float32 (m, f) of the protocol's pictures.
    """

    samples: Samples
    features: Vectors
    contents: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    split: Split
    validation: Validation | None
    asked: Vectors | None
    unlabelled: int

    def learned(self) -> frozenset[bytes]:
        """The contents of the pictures that are learned from."""
        return frozenset(self.contents[i] for i in self.split.train.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The samples that could be read, their base features float32 (n, f) and contents; the rest."""

    samples: Samples
    features: Vectors
    contents: tuple[bytes, ...]
    failures: tuple[Failure, ...]


def look_at(samples: Samples, base: Embedder, cache: FeatureCache | None, watch: Watcher) -> Seen:
    """Embed all pictures by the base embedder; those that cannot be used are in `failures`."""
    watch.stage("Looking at the pictures", len(samples))
    found = embed_files(samples.paths, base, cache, watch.advance)
    bad = {row for row, _ in found.failed}
    good = [i for i in range(len(samples)) if i not in bad]
    return Seen(
        samples.take(good), found.features[good], tuple(found.contents[i] for i in good),
        (*samples.failures, *(failure for _, failure in found.failed)),
    )  # fmt: skip


def prepare(
    samples: Samples, base: Embedder, recipe: Recipe, cache: FeatureCache | None, watch: Watcher
) -> Prepared:
    """Base features, near-duplicate groups and the split. UsageError where that cannot be, or where
    the recipe's layers do not fit the base's network."""
    check_layers(base.model, recipe.layers, recipe.train_norms)
    _check_classes(samples, "")  # before every picture is read, and of those that could be
    seen = look_at(samples, base, cache, watch)
    kept, features = seen.samples, seen.features
    if samples.held and not kept.held:
        raise UsageError(
            f"validation: expected pictures that can be read; none of the {len(samples.held)} that "
            "were named for it can. Mend them, or choose others (--val-where)."
        )
    labels = kept.numbers()
    _check_classes(kept, " that can be read")
    groups = duplicate_groups(features, recipe.split.duplicate)
    made = split(labels, groups, recipe.split, kept.held)
    asked = validation(kept, made)
    if asked is not None and not any(len(query.relevant) for query in asked.truth.queries):
        raise UsageError(
            f"validation: expected pictures with another of their class to be found; the "
            f"{len(made.validation)} kept for it have none. Choose others (--val-where), or train "
            "without validation (--val-share 0, no --val-where)."
        )
    return Prepared(
        kept, features, seen.contents, seen.failures, made, asked,
        None if asked is None else features[asked.pictures], int((labels < 0).sum()),
    )  # fmt: skip


def _check_classes(samples: Samples, which: str) -> None:
    if len(samples.classes()) < 2:
        raise UsageError(
            f"Expected pictures of at least 2 classes to learn from; received "
            f"{len(samples.classes())} ({len(samples)} pictures{which}). Put each class into a "
            "folder of its own, or name a CSV with labels."
        )


def with_all(prepared: Prepared) -> Prepared:
    """The same pictures with nothing kept for validation: all that have a label are learned from,
    those too that were left out for being like a validation picture."""
    made, labels = prepared.split, prepared.samples.numbers()
    none = np.zeros(0, np.int64)
    every = Split(np.flatnonzero(labels >= 0), none, np.flatnonzero(labels < 0), made.groups,
                  made.duplicates)  # fmt: skip
    return replace(prepared, split=every, validation=None, asked=None)


def base_answers(prepared: Prepared) -> Answers | None:
    """Validation by the base embedder, projected as the default index does it: "before"."""
    if prepared.validation is None or prepared.asked is None:
        return None
    projection = start_projection(prepared, IndexSpec().dims)
    features = projection.apply(prepared.asked)
    return prepared.validation.answers(features, "before")


def start_projection(prepared: Prepared, dims: int) -> Projection:
    """Principal components of the training part's base features: where a new head begins."""
    return fit(prepared.features[prepared.split.train], dims)
