"""Which layers learn: freeze plans by name, by share, by stage; BatchNorm as it is by default."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Sequence
from typing import Any

from cbir.backbones.nested import flat_layers
from cbir.errors import UsageError

PLANS = "head, last, blocks:N, share:X, all, from:LAYER, or a pattern of layer names (block6*)"


def check_plan(plan: str) -> None:
    """UsageError where the text is no plan; whether a layer is there is seen later."""
    kind, _, value = plan.partition(":")
    try:
        good = {
            "blocks": lambda: int(value) >= 1,
            "share": lambda: 0 < float(value) <= 1,
            "from": lambda: bool(value),
        }.get(kind, lambda: bool(plan.strip()) and ":" not in plan)()
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"layers: expected {PLANS}; received {plan!r}.")


def stages(layers: Sequence[Any]) -> list[list[Any]]:
    """Layers in runs of one spatial size, first to last: what `blocks:N` counts from the end.

    A run ends where all that follows is smaller: the 1 x 1 of squeeze-and-excitation, and what a
    padding adds, are no stages of their own. What has no places any more (after the pooling)
    belongs to the last one. Raises ValueError where sizes are open (a network for any picture).
    """
    runs: list[list[Any]] = [[]]
    largest = list(itertools.accumulate(reversed([_places(layer) for layer in layers]), max))[::-1]
    for layer, size, before in zip(layers, largest, [0, *largest], strict=False):
        if 0 < size < before:
            runs.append([])
        runs[-1].append(layer)
    return runs


def _places(layer: Any) -> int:
    """Height times width of what a layer gives; 0 where it has none, and for a padding."""
    shape = getattr(getattr(layer, "output", None), "shape", None)
    if shape is None or len(shape) != 4 or type(layer).__name__ == "ZeroPadding2D":
        return 0
    if shape[1] is None or shape[2] is None:
        raise ValueError("stages: expected a network for pictures of one size; received any size.")
    return int(shape[1]) * int(shape[2])


def freeze(model: Any, plan: str, train_norms: bool = False, sized: Any = None) -> tuple[int, int]:
    """Set which layers of the truncated network learn; the number that do, and of all with weights.

    plan: see `PLANS`; "share:X" is the last X of the layers that have weights. Layers with running
    statistics (BatchNorm) stay frozen, statistics and scales, unless `train_norms`. `sized`: the
    same network for pictures of one size, where `model` takes any: stages are seen there. Raises
    UsageError where no layer fits.
    """
    everything = flat_layers(model)
    same = everything if sized is None else flat_layers(sized)
    there = _learning(same, plan, train_norms)
    learning = {
        id(layer) for layer, twin in zip(everything, same, strict=True) if id(twin) in there
    }
    for layer in everything:
        layer.trainable = id(layer) in learning
    _unfreeze_models(model)
    weighty = [layer for layer in everything if layer.weights]
    return sum(id(layer) in learning for layer in weighty), len(weighty)


def check_layers(model: Any, plan: str, train_norms: bool = False) -> None:
    """UsageError where no layer fits the plan, or none of those that do has weights to learn."""
    everything = flat_layers(model)
    learning = _learning(everything, plan, train_norms)
    if plan != "head" and not any(id(layer) in learning and layer.weights for layer in everything):
        raise UsageError(
            f"layers: {plan} leaves no layer of the network to learn (BatchNorm stays as it is, "
            "but with --train-norms). Name more layers, or give --layers head."
        )


def _learning(everything: Sequence[Any], plan: str, train_norms: bool) -> set[int]:
    """The layers that the plan lets learn, by `id`."""
    check_plan(plan)
    chosen = _chosen(everything, [layer for layer in everything if layer.weights], plan)
    norms = {id(layer) for layer in everything if _is_norm(layer)}
    return chosen if train_norms else chosen - norms


def _is_norm(layer: Any) -> bool:
    name = type(layer).__name__
    return name.endswith("BatchNormalization") or name == "Normalization"


def _unfreeze_models(model: Any) -> None:
    """A nested model that is frozen freezes its layers: only layers are frozen here."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            layer._trainable = True  # its setter would set every layer
            _unfreeze_models(layer)
    model._trainable = True


def _chosen(everything: Sequence[Any], weighty: Sequence[Any], plan: str) -> set[int]:
    kind, _, value = plan.partition(":")
    if plan == "head":
        return set()
    if plan == "all":
        return {id(layer) for layer in everything}
    if kind == "share":
        return {id(layer) for layer in weighty[round(len(weighty) * (1 - float(value))) :]}
    if plan == "last" or kind == "blocks":
        runs = [run for run in stages(everything) if any(layer.weights for layer in run)]
        last = runs[-(int(value) if value else 1) :]
        return {id(layer) for run in last for layer in run}
    names = [layer.name for layer in everything]
    if kind == "from":
        if value not in names:
            raise UsageError(f"layers: expected a layer of the network; received {value!r}. "
                             "`cbir models NAME` lists them.")  # fmt: skip
        return {id(layer) for layer in everything[names.index(value) :]}
    found = {id(layer) for layer in everything if fnmatch.fnmatchcase(layer.name, plan)}
    if not found:
        raise UsageError(f"layers: expected {PLANS}; received {plan!r}, which fits no "
                         f"layer, such as {', '.join(names[-3:])}.")  # fmt: skip
    return found
