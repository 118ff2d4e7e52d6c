"""One training: network, loss and batches, restored from a checkpoint, run epoch by epoch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from cbir.backbones.nested import flat_layers, set_precision
from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.evaluate.protocol import Answers
from cbir.train.batches import Batches, FeatureBatches, Source
from cbir.train.checkpoint import Checkpoint
from cbir.train.epochs import Epochs, Limits
from cbir.train.freezing import check_layers, freeze
from cbir.train.losses import make
from cbir.train.network import (
    ANY,
    Learner,
    feature_head,
    own_copy,
    to_embedder,
    unit_features,
    with_head,
    with_layer,
)
from cbir.train.optimizer import Cosine, GroupedAdamW, ready
from cbir.train.pictures import MARGIN, read_all
from cbir.train.prepared import Prepared, start_projection
from cbir.train.recipe import Recipe
from cbir.train.sampling import epoch_batches
from cbir.train.validation import edited, means
from cbir.train.watcher import Watcher
from cbir.types import Ids, Pixels, Vectors


class Run(Epochs):
    """Fine-tuning: built, perhaps restored, then run epoch by epoch."""

    def __init__(
        self, prepared: Prepared, base: Embedder, recipe: Recipe, checkpoint: Checkpoint,
        watch: Watcher, room: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        """Build; what `checkpoint` has is restored. `room` is where networks are built."""
        self.prepared, self.base, self.recipe = prepared, base, recipe
        rows = prepared.split.train
        self.labels: Ids = np.unique(prepared.samples.numbers()[rows], return_inverse=True)[1]
        self.on_features = recipe.layers == "head"
        steps = len(epoch_batches(self.labels, recipe.batch, np.random.default_rng(0)))
        if recipe.accumulate > steps:
            raise UsageError(
                f"accumulate: expected at most {steps}, the batches of an epoch; received "
                f"{recipe.accumulate}."
            )
        with room or nullcontext():
            network, self.layers = _network(prepared, base, recipe)
            criterion = make(
                recipe.loss, int(self.labels.max()) + 1, int(network.output_shape[-1]),
                seed=recipe.seed, options=recipe.options(), memory=recipe.memory,
            )  # fmt: skip
            learner = _compiled(network, criterion, recipe, steps)
        free = not self.on_features and network.input_shape[1] is None
        size = base.spec.input_size
        self.side, self.final = sides(base, recipe) if free else (size, size)
        if self.on_features:
            self.side = 0
        limits = Limits(recipe.epochs, recipe.patience, recipe.deciding, recipe.learning_rate)
        super().__init__(learner, network, limits, checkpoint, watch)
        self.asked: Pixels | Vectors | None
        if self.on_features:
            self.shown: Pixels | Vectors = prepared.features[rows]
            self.asked = prepared.asked
        else:
            self.shown = self._read(rows, self.side, MARGIN)
            self.asked = self._read_asked()

    def _read(self, rows: Ids, side: int, margin: float) -> Pixels:
        paths = [self.prepared.samples.paths[i] for i in rows.tolist()]
        self.watch.stage("Reading the pictures", len(paths))
        spec = replace(self.base.spec, input_size=side)
        return read_all(paths, spec, margin, self.watch.advance)

    def _read_asked(self) -> Pixels | None:
        """The validation pictures, with their edits."""
        asked = self.prepared.validation
        if asked is None:
            return None
        pixels = self._read(asked.pictures, self.final, 1.0)
        return edited(pixels, asked.edits) if asked.edits else pixels

    def batches(self, epoch: int) -> tuple[Any, int, int]:
        """The epoch's batches, of pictures or of features."""
        seed = (self.recipe.seed, epoch)
        rng = np.random.default_rng(seed)
        rows = epoch_batches(self.labels, self.recipe.batch, rng, self._partners())
        data: Any
        if self.on_features:
            data = FeatureBatches(np.asarray(self.shown, np.float32), self.labels, rows)
        else:
            source = Source(np.asarray(self.shown), self.labels, self.side)
            data = Batches(source, rows, self.recipe.augmentation, seed)
        return data, sum(len(b) for b in rows), len(rows[0])

    def _partners(self) -> dict[int, Ids]:
        """Classes that were said to be different, by class number of the training part."""
        names = [self.prepared.samples.labels[i] for i in self.prepared.split.train.tolist()]
        number = {name: int(c) for name, c in zip(names, self.labels, strict=True)}
        made: dict[int, list[int]] = {}
        for a, b in self.prepared.samples.apart:
            if a in number and b in number:
                made.setdefault(number[a], []).append(number[b])
                made.setdefault(number[b], []).append(number[a])
        return {c: np.array(others, np.int64) for c, others in made.items()}

    def validate(self) -> dict[str, float]:
        """recall@1, mAP and MAP@R of the validation queries."""
        if self.asked is None or self.prepared.validation is None:
            return {}
        features = unit_features(self.kept, self.asked, whole=self.recipe.devices > 1)
        return means(self.prepared.validation.answers(features, "now"))

    def result(self) -> tuple[Embedder, Answers | None]:
        """The best epoch's embedder, and its answers to the validation queries."""
        self.kept.set_weights(self.best)
        whole = self.kept
        if self.on_features:
            whole = with_layer(self.base.model, *self.kept.get_layer("head").get_weights())
        embedder = to_embedder(whole, self.base, self.final)
        if self.asked is None or self.prepared.validation is None:
            return embedder, None
        if self.on_features:
            features = unit_features(self.kept, self.asked, whole=self.recipe.devices > 1)
        else:
            features = embedder.features(np.asarray(self.asked, np.uint8))
        return embedder, self.prepared.validation.answers(features, "after")


def _network(prepared: Prepared, base: Embedder, recipe: Recipe) -> tuple[Any, tuple[int, int]]:
    """A copy of the base's network with a head, frozen by the recipe's plan; or the head alone.

    With it: how many of its layers with weights learn, and how many there are.
    """
    start = start_projection(prepared, recipe.head_dims) if recipe.head_dims else None
    if recipe.layers == "head":
        weighty = sum(bool(layer.weights) for layer in flat_layers(base.model))
        length = prepared.features.shape[1]
        return feature_head(length, start, recipe.head_dims, recipe.seed), (0, weighty)
    own = _own(base, recipe)
    network = with_head(own, start, recipe.dims, recipe.seed)
    check_layers(base.model, recipe.layers, recipe.train_norms)
    learning, layers = freeze(own, recipe.layers, recipe.train_norms, base.model)
    if recipe.precision != "float32":
        set_precision(network, recipe.precision, but=("head",))
    return network, (learning, layers)


def sides(base: Embedder, recipe: Recipe) -> tuple[int, int]:
    """Sides of the pictures in training and of those that the new embedder takes. One that was
    trained before does not grow again."""
    size = base.spec.input_size
    small, large = recipe.sides(size)
    return small, size if base.spec.weights == "trained" else large


def _own(base: Embedder, recipe: Recipe) -> Any:
    """A copy of the base's network: for pictures of any size where training or the new embedder has
    others than it takes, and where its layers allow that."""
    size = base.spec.input_size
    if sides(base, recipe) != (size, size):
        try:
            return own_copy(base.model, ANY)
        except ValueError:  # such as a dense layer on all places of a map
            pass
    return own_copy(base.model)


def _compiled(network: Any, criterion: Any, recipe: Recipe, steps: int) -> Any:
    """Network and loss, ready for `fit`: groups of weights, schedule, accumulation."""
    learner = Learner(network, criterion)
    learner.build(network.input_shape)
    factors = {v.path: recipe.loss_factor for v in criterion.trainable_variables}
    slow = {v.path for v in network.trainable_variables}
    if recipe.head_dims:
        head = {v.path for v in network.get_layer("head").trainable_variables}
        factors.update(dict.fromkeys(head, recipe.head_factor))
        slow -= head
    each = max(1, steps // recipe.accumulate)
    optimizer: Any = GroupedAdamW(
        Cosine(recipe.learning_rate, recipe.epochs * each, round(recipe.warm * each)),
        factors, (frozenset(slow), round(recipe.wait * each)), recipe.decay,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )  # fmt: skip
    if recipe.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return ready(learner, optimizer)
