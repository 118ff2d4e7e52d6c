"""Training from scratch: a backbone with initial weights, a classifier on top, labelled pictures.

Epoch by epoch with a checkpoint after each; the weights with the best validation accuracy are kept
(without validation pictures, the last). Then the classifier is cut, and is an embedder.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbir.backbones import classifier, training_model, truncated_classifier
from cbir.config import EmbedderSpec
from cbir.embed import Embedder
from cbir.embed.pooling import pool
from cbir.embed.quiet import quiet
from cbir.errors import OperationFailedError, UsageError
from cbir.train.checkpoint import Checkpoint, Progress, held
from cbir.train.repeatable import repeatable
from cbir.train.scratch_recipe import ScratchRecipe
from cbir.train.watcher import Watcher
from cbir.types import Ids, Pixels

MODEL, CLASSES = "classifier.keras", "classes.json"
SCORE = "accuracy"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Pixels uint8 (n, s, s, 3) and class numbers int64 (n,), 0 to classes - 1."""

    pixels: Pixels
    labels: Ids


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is learnt from: `train` may be larger than the network's input, for crops; `validation`
    has its size, and may be empty. `classes` are the names, in the order of the numbers."""

    train: Labelled
    validation: Labelled
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A classifier uint8 (n, s, s, 3) → logits (n, c), and the history of its training.

    `resumed` epochs came from a checkpoint; `seconds` count them too. Call
    `finish` once the result is saved.
    """

    model: Any
    recipe: ScratchRecipe
    classes: tuple[str, ...]
    progress: Progress
    resumed: int
    seconds: float
    checkpoint: Checkpoint

    def finish(self) -> None:
        """The result is safe: the training's state goes."""
        self.checkpoint.remove()

    def embedder(self, cut: str = "") -> Embedder:
        """The network without its classifier, cut at a layer ("": the last one before it)."""
        import keras

        recipe = self.recipe
        spec = EmbedderSpec(recipe.backbone, "trained", cut=cut, input_size=recipe.input_size,
                            resize=recipe.resize)  # fmt: skip
        start, output = truncated_classifier(self.model, spec)
        return Embedder(spec, keras.Model(start, pool(spec.pooling, output), name="embedder"))


def train(
    lesson: Lesson,
    recipe: ScratchRecipe,
    work: str,
    watch: Watcher,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
) -> Trained:
    """Train a classifier; `work` is the folder of the checkpoint, until `Trained.finish`.

    A training of the same recipe and pictures that was cut off goes on from its last epoch, to the
    same result. Raises UsageError (fewer than 2 classes, the loss is not finite, ...),
    EmbedderError (the input size does not fit), OperationFailedError (the disk).
    """
    start = time.perf_counter()
    if len(lesson.classes) < 2 or not len(lesson.train.labels):
        raise UsageError(
            f"Expected pictures of at least 2 classes to learn from; received "
            f"{len(lesson.train.labels)} pictures of {len(lesson.classes)}."
        )
    with quiet(), repeatable(recipe.seed):
        checkpoint = Checkpoint(work, _key(lesson, recipe))
        with held(work):
            run = _run(lesson, recipe, checkpoint, watch)
            resumed, earlier = run.progress.epochs, run.progress.seconds
            for figures in run.run():
                on_epoch(figures)
            run.kept.set_weights(run.best)
    return Trained(
        run.kept, recipe, lesson.classes, run.progress, resumed,
        earlier + time.perf_counter() - start, run.checkpoint,
    )  # fmt: skip


def _key(lesson: Lesson, recipe: ScratchRecipe) -> dict[str, Any]:
    """What must be the same for a training to go on."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (lesson.train, lesson.validation):
        digest.update(np.ascontiguousarray(part.labels).tobytes())
        for block in range(0, len(part.pixels), 1024):
            digest.update(np.ascontiguousarray(part.pixels[block : block + 1024]).tobytes())
    return {**recipe.to_dict(), "classes": list(lesson.classes), "pictures": digest.hexdigest()}


def _run(lesson: Lesson, recipe: ScratchRecipe, checkpoint: Checkpoint, watch: Watcher) -> Any:
    """The training, built and perhaps restored."""
    from cbir.train.batches import Batches, Source
    from cbir.train.classifying import accuracy, compiled, logits_of
    from cbir.train.epochs import Epochs, Limits

    class Run(Epochs):
        def batches(self, epoch: int) -> tuple[Any, int, int]:
            rows = _batches(lesson, recipe, epoch)
            source = Source(lesson.train.pixels, lesson.train.labels, recipe.input_size)
            data = Batches(source, rows, recipe.augmentation, (recipe.seed, epoch))
            return data, sum(len(b) for b in rows), len(rows[0])

        def validate(self) -> dict[str, float]:
            asked = lesson.validation
            if not len(asked.labels):
                return {}
            return {SCORE: accuracy(logits_of(self.kept, asked.pixels), asked.labels)}

    model = classifier(recipe.backbone, len(lesson.classes), recipe.input_size, seed=recipe.seed)
    network, shares = training_model(model, seed=recipe.seed)
    learner = compiled(network, shares, recipe, len(_batches(lesson, recipe, 0)))
    limits = Limits(recipe.epochs, recipe.patience, SCORE, recipe.learning_rate)
    return Run(learner, model, limits, checkpoint, watch)


def _batches(lesson: Lesson, recipe: ScratchRecipe, epoch: int) -> list[Ids]:
    """All pictures in random order; the last batch is filled from the front of the order, so that
    every batch has one size."""
    count = len(lesson.train.labels)
    order = np.random.default_rng([recipe.seed, epoch, 7]).permutation(count)
    size = min(recipe.batch, count)
    steps = -(-count // size)
    return list(np.resize(order, steps * size).reshape(steps, size))


def save_classifier(trained: Trained, folder: str) -> None:
    """Write `classifier.keras` and `classes.json` (names, recipe, history) into a folder.

    Raises OperationFailedError where the disk refuses.
    """
    import warnings

    about = {
        "version": 1, "classes": list(trained.classes), "recipe": trained.recipe.to_dict(),
        "best_epoch": trained.progress.best + 1, "history": trained.progress.history,
    }  # fmt: skip
    try:
        os.makedirs(folder, exist_ok=True)
        with warnings.catch_warnings():  # TensorFlow's variables lag behind NumPy 2
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            trained.model.save(os.path.join(folder, f"new-{MODEL}"))
        with open(os.path.join(folder, f"new-{CLASSES}"), "w", encoding="utf-8") as file:
            json.dump(about, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        for name in (MODEL, CLASSES):
            os.replace(os.path.join(folder, f"new-{name}"), os.path.join(folder, name))
    except OSError as error:
        raise OperationFailedError(
            f"The classifier cannot be written to {folder} ({error.strerror or error})."
        ) from None
