"""Fine-tuning: embedder, labelled pictures and recipe in; a better embedder out, or a plain no.

Read and split the pictures, train epoch by epoch with a checkpoint after each, keep the best
weights by MAP@R on validation, measure before and after on the same queries.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cbir.catalog import FeatureCache
from cbir.embed import Embedder, Projection, fit
from cbir.embed.quiet import quiet
from cbir.errors import UsageError
from cbir.evaluate.embedding import Embedded, embed_files
from cbir.evaluate.protocol import Answers
from cbir.train.checkpoint import Checkpoint, Progress
from cbir.train.pictures import MARGIN, Pictures, read_pictures
from cbir.train.recipe import Recipe
from cbir.train.samples import Samples
from cbir.train.sampling import epoch_batches
from cbir.train.split import Split, duplicate_groups, split
from cbir.train.validation import Validation, means, validation
from cbir.types import Failure, Ids


class Watcher(Protocol):
    """Who wants to know how far a training is."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; total steps, where known."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Samples that could be read, base features float32 (n, f), the split and its protocol."""

    samples: Samples
    features: Any
    contents: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    split: Split
    validation: Validation | None
    unlabelled: int


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A trained embedder, and what is known of it.

    `before` and `after` are answers to the same validation queries: by the base embedder with the
    projection of the training part, and by the new one; None without validation. `learning` and
    `layers` count layers with weights. `resumed` epochs came from a checkpoint.
    """

    embedder: Embedder
    prepared: Prepared
    progress: Progress
    before: Answers | None
    after: Answers | None
    learning: int
    layers: int
    resumed: int
    seconds: float


def prepare(
    samples: Samples, base: Embedder, recipe: Recipe, cache: FeatureCache | None, watch: Watcher
) -> Prepared:
    """Base features, near-duplicate groups and the split. UsageError where that cannot be."""
    watch.stage("Looking at the pictures", len(samples))
    found: Embedded = embed_files(samples.paths, base, cache, watch.advance)
    bad = {row for row, _ in found.failed}
    good = [i for i in range(len(samples)) if i not in bad]
    kept, features = samples.take(good), found.features[good]
    labels = kept.numbers()
    if len(kept.classes()) < 2:
        raise UsageError(
            f"Expected pictures of at least 2 classes to learn from; received "
            f"{len(kept.classes())} ({len(kept)} pictures that can be read). Put each class into a "
            "folder of its own, or name a CSV with labels."
        )
    groups = duplicate_groups(features, recipe.split.duplicate)
    made = split(labels, groups, recipe.split)
    return Prepared(
        kept, features, tuple(found.contents[i] for i in good),
        tuple(failure for _, failure in found.failed), made,
        validation(kept, made, recipe.split), int((labels < 0).sum()),
    )  # fmt: skip


def finetune(
    prepared: Prepared,
    base: Embedder,
    recipe: Recipe,
    work: str,
    watch: Watcher,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
) -> Outcome:
    """Train on the prepared samples; `work` is the folder of the checkpoint, gone at the end.

    A training of the same recipe, pictures and base that was cut off goes on from its last epoch,
    to the same result. Raises UsageError (settings do not fit), OperationFailedError (the disk).
    """
    start = time.perf_counter()
    with quiet(), _repeatable(recipe.seed):
        run = _Run(prepared, base, recipe, Checkpoint(work, _key(prepared, base, recipe)), watch)
        resumed = run.progress.epochs
        for figures in run.epochs():
            on_epoch(figures)
        embedder, after = run.result()
    before = None
    if prepared.validation is not None:
        before = prepared.validation.answers(_base_features(prepared), "before")
    run.checkpoint.remove()
    return Outcome(
        embedder, prepared, run.progress, before, after, run.learning, run.layers, resumed,
        time.perf_counter() - start,
    )  # fmt: skip


def _base_features(prepared: Prepared) -> Any:
    """Validation pictures by the base embedder, projected as the default index does it."""
    assert prepared.validation is not None
    return start_projection(prepared, 256).apply(prepared.features[prepared.validation.pictures])


def start_projection(prepared: Prepared, dims: int) -> Projection:
    """Principal components of the training part's base features: where a new head begins."""
    return fit(prepared.features[prepared.split.train], dims)


def _key(prepared: Prepared, base: Embedder, recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a training to go on; the length of training is part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for content, label in zip(prepared.contents, prepared.samples.labels, strict=True):
        digest.update(content + label.encode("utf-8", "surrogateescape") + b"\0")
    return {**recipe.to_dict(), "base": base.fingerprint, "pictures": digest.hexdigest()}


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Seeded and deterministic while it lasts; Python's and NumPy's random state come back."""
    import random

    import keras

    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


class _Run:
    """One training: built, perhaps restored, then run epoch by epoch."""

    def __init__(
        self, prepared: Prepared, base: Embedder, recipe: Recipe, checkpoint: Checkpoint,
        watch: Watcher,
    ) -> None:  # fmt: skip
        from cbir.train.losses import make

        self.prepared, self.base, self.recipe = prepared, base, recipe
        self.checkpoint, self.watch = checkpoint, watch
        rows = prepared.split.train
        self.labels: Ids = np.unique(prepared.samples.numbers()[rows], return_inverse=True)[1]
        classes = int(self.labels.max()) + 1
        self.steps = len(epoch_batches(self.labels, recipe.batch, np.random.default_rng(0)))
        self.network, self.learning, self.layers = _network(prepared, base, recipe)
        dims = int(self.network.output_shape[-1])
        criterion = make(recipe.loss, classes, dims, seed=recipe.seed, options=recipe.options(),
                         memory=recipe.memory)  # fmt: skip
        self.learner = _compiled(self.network, criterion, recipe, self.steps)
        self.best = self.network.get_weights()
        self.progress = Progress()
        self._restore()
        self.pictures = self._read(rows, MARGIN)
        self.asked = None
        if prepared.validation is not None:
            self.asked = self._read(prepared.validation.pictures, 1.0)

    def _read(self, rows: Ids, margin: float) -> Pictures:
        paths = [self.prepared.samples.paths[i] for i in rows.tolist()]
        self.watch.stage("Reading the pictures", len(paths))
        read = read_pictures(paths, self.base.spec, margin, self.watch.advance)
        if read.failures:  # they could be read a moment ago
            raise UsageError(
                f"{read.failures[0].path} cannot be read any more ({read.failures[0].reason}). "
                "Expected the pictures to stay as they are: run the command again."
            )
        return read

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
            better = figures.get("MAP@R", float(self.progress.epochs)) > self.progress.best_score
            self.progress.history.append(figures)
            state: dict[str, Any] = {}
            if better:
                self.progress.best = self.progress.epochs - 1
                self.progress.best_score = figures.get("MAP@R", float(self.progress.best))
                self.best = state["best"] = self.network.get_weights()
            for name, variables in self._variables().items():
                state[name] = [_array(v) for v in variables]
            self.checkpoint.save(self.progress, state)
            yield figures

    def _stopped(self) -> bool:
        since = self.progress.epochs - 1 - self.progress.best
        return bool(self.recipe.patience) and since >= self.recipe.patience

    def _epoch(self, number: int) -> dict[str, float]:
        import keras

        from cbir.train.batches import Batches, Source

        start = time.perf_counter()
        rng = np.random.default_rng([self.recipe.seed, number])
        batches = epoch_batches(self.labels, self.recipe.batch, rng, self._partners())
        source = Source(self.pictures.pixels, self.labels, self.base.spec.input_size)
        data = Batches(source, batches, self.recipe.augmentation, (self.recipe.seed, number))
        self.watch.stage(f"Epoch {number + 1}", sum(len(b) for b in batches))
        watch = self.watch

        class Step(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                watch.advance(len(batches[0]))

        found = self.learner.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[Step()])
        loss = float(found.history["loss"][0])
        if not np.isfinite(loss):
            raise UsageError(
                f"The loss is not finite in epoch {number + 1}; expected a number. Give a smaller "
                f"--learning-rate than {self.recipe.learning_rate:g}."
            )
        trained = time.perf_counter() - start
        figures = {"loss": loss, **self._validate(), "train_s": trained}
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
        return means(self._answers())

    def _answers(self) -> Answers:
        from cbir.train.network import unit_features

        assert self.asked is not None and self.prepared.validation is not None
        features = unit_features(self.network, self.asked.pixels)
        return self.prepared.validation.answers(features, "after")

    def result(self) -> tuple[Embedder, Answers | None]:
        """The best epoch's embedder, and its answers to the validation queries."""
        from cbir.train.network import to_embedder

        self.network.set_weights(self.best)
        embedder = to_embedder(self.network, self.base)
        if self.asked is None or self.prepared.validation is None:
            return embedder, None
        features = embedder.features(np.asarray(self.asked.pixels))
        return embedder, self.prepared.validation.answers(features, "after")


def _array(variable: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(variable)


def _network(prepared: Prepared, base: Embedder, recipe: Recipe) -> tuple[Any, int, int]:
    """A copy of the base's network with a head, frozen by the recipe's plan."""
    from cbir.train.freezing import freeze
    from cbir.train.network import set_precision, with_head

    own = Embedder(base.spec, _copy(base.model))
    start = start_projection(prepared, recipe.dims) if recipe.dims else None
    network = with_head(own, start, recipe.dims, recipe.seed)
    learning, layers = freeze(own.model, recipe.layers, recipe.train_norms)
    if not learning and not recipe.dims:
        raise UsageError(
            f"layers: {recipe.layers} with dims 0 leaves nothing to learn. Give --dims 256, or "
            "more layers."
        )
    if recipe.precision != "float32":
        set_precision(network, recipe.precision)
    return network, learning, layers


def _copy(model: Any) -> Any:
    """The same network with weights of its own, so that the base stays as it is."""
    import keras

    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made


def _compiled(network: Any, criterion: Any, recipe: Recipe, steps: int) -> Any:
    """Network and loss, ready for `fit`: groups of weights, schedule, accumulation."""
    import keras

    from cbir.train.network import Learner
    from cbir.train.optimizer import Cosine, GroupedAdamW

    criterion.build((None, int(network.output_shape[-1])))
    learner = Learner(network, criterion)
    learner.build(network.input_shape)
    factors = {v.path: recipe.loss_factor for v in criterion.trainable_variables}
    slow = list(network.trainable_variables)
    if recipe.dims:
        head = network.get_layer("head").trainable_variables
        factors.update({v.path: recipe.head_factor for v in head})
        slow = [v for v in slow if v.path not in {h.path for h in head}]
    each = steps // recipe.accumulate or 1
    optimizer = GroupedAdamW(
        Cosine(recipe.learning_rate, recipe.epochs * each, round(recipe.warm * each)),
        factors, (frozenset(v.path for v in slow), round(recipe.wait * each)), recipe.decay,
        gradient_accumulation_steps=recipe.accumulate if recipe.accumulate > 1 else None,
    )  # fmt: skip
    if recipe.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(learner.trainable_variables)
    backend = keras.backend.backend()
    learner.compile(optimizer, jit_compile=False if backend == "tensorflow" else "auto")
    return learner
