"""From a name and options to a loss layer; everything is checked before Keras is imported."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cbir.errors import UsageError
from cbir.train.losses.table import CUBIC_MINING, LOSSES, LossInfo, Option, Value

if TYPE_CHECKING:
    import keras

MOST_REMEMBERED = 65_536
MOST_REMEMBERED_CUBIC = 512
"""n x m x m numbers: a batch of 64 against 64 + 512 takes 85 MB a step, and several of them."""

START = Option("memory_start", 0)
"""Steps before a memory is used; an option of every loss that has a memory."""


def find(name: str) -> LossInfo:
    """The loss of this name (capitals, "_" and spaces do not matter); UsageError if none is."""
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    if wanted in LOSSES:
        return LOSSES[wanted]
    close = difflib.get_close_matches(wanted, LOSSES, 3, 0.5)
    hint = f"Perhaps {' or '.join(close)}?" if close else "Choose one of those."
    raise UsageError(f"loss: expected one of {', '.join(LOSSES)}; received {name!r}. {hint}")


def checked(
    name: str, options: Mapping[str, Value] | None = None, memory: int = 0
) -> dict[str, Value]:
    """All options of a loss, those given and the defaults of the rest. Imports no Keras.

    A number may be given as text ("0.2"). Raises UsageError for an unknown loss or option, for a
    value out of its range, and for a memory that the loss cannot take.
    """
    info = find(name)
    known = {option.name: option for option in info.options}
    if memory:
        known[START.name] = START
    found = {option.name: option.default for option in known.values()}
    for key, value in (options or {}).items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise _unknown(info, key, list(known))
        found[option.name] = _value(info, option, value)
    _check_memory(info, found, memory)
    return found


def _unknown(info: LossInfo, key: str, known: list[str]) -> UsageError:
    close = difflib.get_close_matches(key, known, 2, 0.5)
    hint = f"Perhaps {' or '.join(close)}?" if close else "Leave it out."
    if key.replace("-", "_") == START.name and info.remembers:
        hint = "It needs a memory above 0."
    has = f"one of {', '.join(known)}" if known else "no options"
    return UsageError(f"{info.name}: expected {has}; received {key!r}. {hint}")


def _value(info: LossInfo, option: Option, value: Value) -> Value:
    wrong = UsageError(
        f"{info.name}: {option.name}: expected {option.allowed}; received {value!r}. The default "
        f"is {option.default}."
    )
    if option.choices:
        if str(value) not in option.choices:
            raise wrong
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise wrong from None
    fits = option.low <= number <= option.high and not (option.open_low and number == option.low)
    whole = isinstance(option.default, int)
    if not (math.isfinite(number) and fits) or (whole and number != int(number)):
        raise wrong
    return int(number) if whole else number


def _check_memory(info: LossInfo, options: Mapping[str, Value], memory: int) -> None:
    if memory == 0:
        return
    if not info.remembers:
        able = [other.name for other in LOSSES.values() if other.remembers]
        raise UsageError(
            f"memory: expected 0 for {info.name}, which compares with weights, not with images; "
            f"received {memory}. These take one: {', '.join(able)}."
        )
    cubic = info.cubic or options.get("mining") in CUBIC_MINING
    most = MOST_REMEMBERED_CUBIC if cubic else MOST_REMEMBERED
    if not 1 <= memory <= most:
        why = " (its cost grows with the square of the memory)" if cubic else ""
        raise UsageError(
            f"memory: expected 0 to {most} embeddings for {info.name}{why}; received {memory}."
        )


def make(
    name: str,
    classes: int,
    dims: int,
    *,
    seed: int = 0,
    options: Mapping[str, Value] | None = None,
    memory: int = 0,
) -> keras.layers.Layer:
    """A loss as a Keras layer: `layer(embeddings (n, dims), labels (n,))` → float32 scalar.

    classes  labels are 0 to classes - 1 (pair-based losses take any)
    dims     d of the embeddings
    seed     of first weights and of random miners
    options  as the table says; the rest have their defaults
    memory   embeddings of earlier batches that are compared too; 0: none

    It is built: its weights are there for an optimizer. Raises UsageError as `checked` does, and
    for classes or dims below 1.
    """
    values = checked(name, options, memory)
    for what, number in (("classes", classes), ("dims", dims)):
        if number < 1:
            raise UsageError(f"{what}: expected at least 1; received {number}.")
    info = find(name)
    start = int(values.pop(START.name, 0))
    made = getattr(importlib.import_module(info.module), info.class_name)
    extra: dict[str, int] = {}
    if not info.remembers:
        extra = {"classes": classes, "dims": dims, "seed": seed}
    elif "mining" in values:
        extra = {"seed": seed}
    layer = made(**values, **extra)
    if memory:
        from cbir.train.memory import CrossBatchMemory

        layer = CrossBatchMemory(layer, size=memory, start=start)
    layer.build((None, dims))
    return layer
