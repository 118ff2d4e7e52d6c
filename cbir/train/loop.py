"""One training: network, loss and batches, restored from a checkpoint, run epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.evaluate.protocol import Answers
from cbir.train.batches import Batches, FeatureBatches, Source
from cbir.train.checkpoint import Checkpoint, Progress
from cbir.train.freezing import flat_layers, freeze
from cbir.train.losses import make
from cbir.train.network import (
    Learner,
    feature_head,
    set_precision,
    to_embedder,
    unit_features,
    with_head,
    with_layer,
)
from cbir.train.optimizer import Cosine, GroupedAdamW
from cbir.train.pictures import MARGIN, read_pictures
from cbir.train.prepared import Prepared, Watcher, start_projection
from cbir.train.recipe import Recipe
from cbir.train.sampling import epoch_batches
from cbir.train.steps import steps_callback
from cbir.train.validation import edited, means
from cbir.types import Ids, Pixels, Vectors


class Run:
    """One training: built, perhaps restored, then run epoch by epoch."""

    def __init__(
        self, prepared: Prepared, base: Embedder, recipe: Recipe, checkpoint: Checkpoint,
        watch: Watcher, room: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        """Build; what `checkpoint` has is restored. `room` is where networks are built."""
        room = room or nullcontext()
        self.prepared, self.base, self.recipe = prepared, base, recipe
        self.checkpoint, self.watch = checkpoint, watch
        rows = prepared.split.train
        self.labels: Ids = np.unique(prepared.samples.numbers()[rows], return_inverse=True)[1]
        self.on_features = recipe.layers == "head"
        batches = epoch_batches(self.labels, recipe.batch, np.random.default_rng(0))
        with room:
            self.network, self.layers = _network(prepared, base, recipe)
            criterion = make(
                recipe.loss, int(self.labels.max()) + 1, int(self.network.output_shape[-1]),
                seed=recipe.seed, options=recipe.options(), memory=recipe.memory,
            )  # fmt: skip
            self.learner = _compiled(self.network, criterion, recipe, len(batches))
        self.best = self.network.get_weights()
        self.progress = Progress()
        self._restore()
        self.asked: Pixels | Vectors | None
        if self.on_features:
            self.shown: Pixels | Vectors = prepared.features[rows]
            self.asked = prepared.asked
        else:
            self.shown = self._read(rows, MARGIN)
            self.asked = self._read_asked()

    def _read(self, rows: Ids, margin: float) -> Pixels:
        paths = [self.prepared.samples.paths[i] for i in rows.tolist()]
        self.watch.stage("Reading the pictures", len(paths))
        read = read_pictures(paths, self.base.spec, margin, self.watch.advance)
        if read.failures:  # they could be read a moment ago
            raise UsageError(
                f"{read.failures[0].path} cannot be read any more ({read.failures[0].reason}). "
                "Expected the pictures to stay as they are: run the command again."
            )
        return read.pixels

    def _read_asked(self) -> Pixels | None:
        """The validation pictures, with their edits."""
        asked = self.prepared.validation
        if asked is None:
            return None
        pixels = self._read(asked.pictures, 1.0)
        return edited(pixels, asked.edits) if asked.edits else pixels

    def _restore(self) -> None:
        found = self.checkpoint.load()
        if found is None:
            return
        self.progress, arrays = found
        self.best = arrays["best"]
        for name, variables in self._variables().items():
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)

    def _variables(self) -> dict[str, list[Any]]:
        return {"learner": self.learner.variables, "optimizer": self.learner.optimizer.variables}

    def epochs(self) -> Iterator[dict[str, float]]:
        """Train; the figures of each epoch after it is on disk."""
        while self.progress.epochs < self.recipe.epochs and not self._stopped():
            figures = self._epoch(self.progress.epochs)
            score = figures.get(
                self.recipe.deciding, float(self.progress.epochs)
            )  # the last one, without any
            self.progress.history.append(figures)
            state: dict[str, Any] = {}
            if score > self.progress.best_score:
                self.progress.best, self.progress.best_score = self.progress.epochs - 1, score
                self.best = state["best"] = self.network.get_weights()
            for name, variables in self._variables().items():
                state[name] = [v.numpy() for v in variables]
            self.checkpoint.save(self.progress, state)
            yield figures

    def _stopped(self) -> bool:
        since = self.progress.epochs - 1 - self.progress.best
        return bool(self.recipe.patience) and since >= self.recipe.patience

    def _epoch(self, number: int) -> dict[str, float]:
        start = time.perf_counter()
        seed = (self.recipe.seed, number)
        rng = np.random.default_rng(seed)
        batches = epoch_batches(self.labels, self.recipe.batch, rng, self._partners())
        data: Any
        if self.on_features:
            data = FeatureBatches(np.asarray(self.shown, np.float32), self.labels, batches)
        else:
            source = Source(np.asarray(self.shown), self.labels, self.base.spec.input_size)
            data = Batches(source, batches, self.recipe.augmentation, seed)
        self.watch.stage(f"Epoch {number + 1}", sum(len(b) for b in batches))
        step = steps_callback(self.watch.advance, len(batches[0]))
        found = self.learner.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[step])
        loss = float(found.history["loss"][0])
        if not np.isfinite(loss):
            raise UsageError(
                f"The loss is not finite in epoch {number + 1}; expected a number. Give a smaller "
                f"--learning-rate than {self.recipe.learning_rate:g}."
            )
        trained = time.perf_counter() - start
        figures = {"epoch": number + 1, "loss": loss, **self._validate(), "train_s": trained}
        return {**figures, "seconds": time.perf_counter() - start}

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

    def _validate(self) -> dict[str, float]:
        if self.asked is None or self.prepared.validation is None:
            return {}
        features = unit_features(self.network, self.asked, whole=self.recipe.devices > 1)
        return means(self.prepared.validation.answers(features, "now"))

    def result(self) -> tuple[Embedder, Answers | None]:
        """The best epoch's embedder, and its answers to the validation queries."""
        self.network.set_weights(self.best)
        whole = self.network
        if self.on_features:
            whole = with_layer(self.base.model, *self.network.get_layer("head").get_weights())
        embedder = to_embedder(whole, self.base)
        if self.asked is None or self.prepared.validation is None:
            return embedder, None
        if self.on_features:
            features = unit_features(self.network, self.asked, whole=self.recipe.devices > 1)
        else:
            features = embedder.features(np.asarray(self.asked, np.uint8))
        return embedder, self.prepared.validation.answers(features, "after")


def _network(prepared: Prepared, base: Embedder, recipe: Recipe) -> tuple[Any, tuple[int, int]]:
    """A copy of the base's network with a head, frozen by the recipe's plan; or the head alone.

    With it: how many of its layers with weights learn, and how many there are.
    """
    start = start_projection(prepared, recipe.dims) if recipe.dims else None
    if recipe.layers == "head":
        weighty = sum(bool(layer.weights) for layer in flat_layers(base.model))
        length = prepared.features.shape[1]
        return feature_head(length, start, recipe.dims, recipe.seed), (0, weighty)
    own = Embedder(base.spec, keras.models.clone_model(base.model))
    own.model.set_weights(base.model.get_weights())
    network = with_head(own, start, recipe.dims, recipe.seed)
    learning, layers = freeze(own.model, recipe.layers, recipe.train_norms)
    if not learning and not recipe.dims:
        raise UsageError(
            f"layers: {recipe.layers} with dims 0 leaves nothing to learn. Give --dims 256, or "
            "more layers."
        )
    if recipe.precision != "float32":
        set_precision(network, recipe.precision)
    return network, (learning, layers)


def _compiled(network: Any, criterion: Any, recipe: Recipe, steps: int) -> Any:
    """Network and loss, ready for `fit`: groups of weights, schedule, accumulation."""
    learner = Learner(network, criterion)
    learner.build(network.input_shape)
    factors = {v.path: recipe.loss_factor for v in criterion.trainable_variables}
    slow = {v.path for v in network.trainable_variables}
    if recipe.dims:
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
    optimizer.build(learner.trainable_variables)
    backend = keras.backend.backend()
    learner.compile(optimizer, jit_compile=False if backend == "tensorflow" else "auto")
    return learner
