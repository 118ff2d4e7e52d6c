"""Fine-tuning: embedder, labelled pictures and recipe in; a better embedder out, or a plain no.

Read and split the pictures, train epoch by epoch with a checkpoint after each, keep the best
weights by MAP@R on validation, measure before and after on the same queries. Where the mean
rose, train once more on all pictures, those of validation too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cbir.backbones.nested import flat_layers
from cbir.embed import Embedder
from cbir.embed.quiet import quiet
from cbir.evaluate.protocol import Answers
from cbir.train.checkpoint import Checkpoint, Progress, held
from cbir.train.devices import spread
from cbir.train.head import Labelled, fit_head
from cbir.train.prepared import Prepared, base_answers, with_all
from cbir.train.recipe import FEWEST, MOST, STEPS, Recipe
from cbir.train.repeatable import repeatable
from cbir.train.sampling import steps_of
from cbir.train.validation import LabelCheck, means
from cbir.train.watcher import AllPictures, Watcher


@dataclass(slots=True, eq=False)
class Outcome:
    """A trained embedder, and what is known of it.

    `before` and `after` are answers to the same validation queries: by the base embedder with the
    projection of the training part, and by the new one; None without validation. `layers` counts
    those with weights: how many learned, of how many; `side` that of the pictures that were shown
    (0: features were). `resumed` epochs came from a checkpoint;
    `seconds` count them too.
    `notes` say how a head in closed form was chosen. `check` is what known
    labels say of a training without them. `refit` is the second training, on all pictures, whose
    embedder this then is; figures and answers are of the first, which did not see those of
    validation. Call `finish` once the embedder is saved.
    """

    embedder: Embedder
    prepared: Prepared
    progress: Progress
    before: Answers | None
    after: Answers | None
    layers: tuple[int, int]
    side: int
    resumed: int
    seconds: float
    notes: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    check: LabelCheck | None = None
    refit: Outcome | None = None

    def finish(self) -> None:
        """The result is safe: the training's state goes, that of the second one first."""
        if self.refit is not None:
            self.refit.finish()
        if self.checkpoint is not None:
            self.checkpoint.remove()


def finetune(
    prepared: Prepared,
    base: Embedder,
    recipe: Recipe,
    work: str,
    watch: Watcher,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
) -> Outcome:
    """Train on the prepared samples, twice where the mean rose and the recipe says so.

    `work` is the folder of the checkpoint (`work`.refit that of the second training); both go with
    `Outcome.finish`. `on_epoch` is told the figures of each epoch; those of the second training
    also say "of", the number of epochs there will be. A training of the same recipe, pictures and
    base that was cut off goes on from its last epoch, to the same result.

    Raises UsageError (settings do not fit), OperationFailedError (the disk).
    """
    asked, recipe = recipe, planned(prepared, recipe)
    closed = recipe.layers == "head" and recipe.head != "loss"
    with nullcontext() if closed else held(work):
        again = Checkpoint(f"{work}.refit", {})
        if not Checkpoint(work, {}).there():
            again.remove()  # a second training belongs to its first
        first = _once(prepared, base, recipe, work, watch, on_epoch)
        if wants_refit(prepared, recipe) and improved(first, recipe):
            return _twice(first, base, asked, work, watch, on_epoch)
        again.remove()
    return first


def wants_refit(prepared: Prepared, recipe: Recipe) -> bool:
    """Whether all pictures may be learned from, once the first training has shown that it helps:
    not those that somebody keeps, and not where there are no labels."""
    return recipe.refit and not recipe.unlabelled and not prepared.samples.held


def _twice(
    first: Outcome, base: Embedder, recipe: Recipe, work: str, watch: Watcher,
    on_epoch: Callable[[dict[str, float]], None],
) -> Outcome:  # fmt: skip
    """The first training's figures with the embedder of a second one, on all pictures."""
    every = with_all(first.prepared)
    steps = steps_of(every.samples.numbers()[every.split.train], recipe.batch)
    again = planned(every, replace(recipe, accumulate=min(recipe.accumulate, steps)))
    if fell(first, recipe.deciding):
        again = replace(again, epochs=first.progress.best + 1)

    def told(figures: dict[str, float]) -> None:
        on_epoch({**figures, "of": float(again.epochs)})

    second = _once(every, base, again, f"{work}.refit", AllPictures(watch), told)
    return replace(
        first, embedder=second.embedder, refit=second, seconds=first.seconds + second.seconds,
        resumed=first.resumed + second.resumed, notes={**first.notes, **second.notes},
    )  # fmt: skip


def planned(prepared: Prepared, recipe: Recipe) -> Recipe:
    """The recipe with its number of epochs said, where it is not and there are any."""
    if recipe.epochs or (recipe.layers == "head" and recipe.head != "loss"):
        return recipe
    labels = prepared.samples.numbers()[prepared.split.train]
    epochs = round(STEPS / steps_of(labels, recipe.batch))
    return replace(recipe, epochs=min(max(epochs, FEWEST), MOST))


def improved(outcome: Outcome, recipe: Recipe) -> bool:
    """Whether the mean of the deciding metric rose on validation; False without validation."""
    if outcome.before is None or outcome.after is None:
        return False
    name = recipe.deciding
    return means(outcome.after)[name] > means(outcome.before)[name]


def fell(outcome: Outcome, name: str) -> bool:
    """Whether the last epoch had lost more than half of what the best one had gained: then a second
    training is as long as the best one, else as long as any.

    Which epoch is best is mostly chance while the rate is high, and where validation is easy (shots
    of the same moment), it is found too early.
    """
    if outcome.before is None or not outcome.progress.epochs:
        return False
    history = outcome.progress.history
    before, best = means(outcome.before)[name], history[outcome.progress.best][name]
    return history[-1][name] < (before + best) / 2


def _once(
    prepared: Prepared, base: Embedder, recipe: Recipe, work: str, watch: Watcher,
    on_epoch: Callable[[dict[str, float]], None],
) -> Outcome:  # fmt: skip
    """One training."""
    if recipe.layers == "head" and recipe.head != "loss":
        return _closed_form(prepared, base, recipe)
    start = time.perf_counter()
    with quiet(), repeatable(recipe.seed), spread(recipe.devices) as room:
        from cbir.train.loop import Run

        checkpoint = Checkpoint(work, _key(prepared, base, recipe))
        run = Run(prepared, base, recipe, checkpoint, watch, room)
        resumed, earlier = run.progress.epochs, run.progress.seconds
        for figures in run.run():
            on_epoch(figures)
        embedder, after = run.result()
        embedder.learned = base.learned | prepared.learned()
    return Outcome(
        embedder, prepared, run.progress, base_answers(prepared), after, run.layers, run.side,
        resumed, earlier + time.perf_counter() - start, checkpoint=run.checkpoint,
    )  # fmt: skip


def _closed_form(prepared: Prepared, base: Embedder, recipe: Recipe) -> Outcome:
    """A head fitted on the features that are there: seconds, and nothing to resume."""
    start = time.perf_counter()
    rows = prepared.split.train
    data = Labelled(
        prepared.features[rows], prepared.samples.numbers()[rows], prepared.split.groups[rows]
    )
    layer = fit_head(recipe.head, data, recipe.head_dims, recipe.seed)
    with quiet():
        from cbir.train.network import to_embedder, with_layer

        network = with_layer(base.model, layer.kernel, layer.bias)
        embedder = to_embedder(network, base)
        embedder.learned = base.learned | prepared.learned()
    after = None
    notes = dict(layer.chosen)
    if prepared.validation is not None and prepared.asked is not None:
        after = prepared.validation.answers(layer.apply(prepared.asked), "after")
        if len(layer.classes) and not prepared.validation.by_class:
            rows = prepared.split.validation
            values = prepared.features[rows] @ layer.kernel + layer.bias
            right = layer.classes[values.argmax(axis=1)] == prepared.samples.numbers()[rows]
            notes["accuracy"] = float(right.mean())
    weighty = sum(bool(inner.weights) for inner in flat_layers(base.model))
    return Outcome(
        embedder, prepared, Progress(), base_answers(prepared), after, (0, weighty), 0, 0,
        time.perf_counter() - start, notes,
    )  # fmt: skip


def _key(prepared: Prepared, base: Embedder, recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a training to go on; the length of training is part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for content, label in zip(prepared.contents, prepared.samples.labels, strict=True):
        digest.update(content + label.encode("utf-8", "surrogateescape") + b"\0")
    for rows in (prepared.split.train, prepared.split.validation):  # who was held back decides too
        digest.update(np.array([len(rows), *rows.tolist()], np.int64).tobytes())
    digest.update(repr(prepared.samples.apart).encode("utf-8", "backslashreplace"))
    settings = recipe.to_dict()
    del settings["refit"]  # it says what comes afterwards
    return {**settings, "base": base.fingerprint, "pictures": digest.hexdigest()}
