"""Where a backbone may be cut: its layers, by names that are the same in every process."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from cbir.errors import UsageError

if TYPE_CHECKING:
    import keras

_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")


def cut_layers(model: keras.Model) -> dict[str, Any]:
    """The layers with one output of 2 to 4 axes, in order, by name.

    Keras numbers the layers that were given no name through all models of a process:
    `activation_19` here is `activation_37` after a second model. Here they are numbered from the
    model's first one, as they are in a process that builds nothing else.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    for layer in model.layers:
        found = _NUMBERED.fullmatch(layer.name)
        if found and found[1].replace("_", "") == type(layer).__name__.lower():
            numbered.setdefault(found[1], []).append((int(found[2] or 0), layer.name))
    stable = {
        name: f"{stem}_{rank}" if rank else stem
        for stem, used in numbered.items()
        for rank, (_, name) in enumerate(sorted(used))
    }
    return {
        stable.get(layer.name, layer.name): layer for layer in model.layers if _may_be_cut(layer)
    }


def _may_be_cut(layer: Any) -> bool:
    output = layer.output
    if isinstance(output, list | tuple) or type(layer).__name__ == "InputLayer":
        return False
    return 2 <= len(output.shape) <= 4


def layer_at(model: keras.Model, cut: str, name: str) -> Any:
    """The layer called `cut` of the backbone `name`; UsageError naming those that are alike."""
    layers = cut_layers(model)
    if cut in layers:
        return layers[cut]
    close = difflib.get_close_matches(cut, layers, 5, 0.4) or list(layers)[-5:]
    raise UsageError(
        f"cut: expected a layer of {name}, such as {', '.join(close)}; received {cut!r}. "
        f"`cbir models {name}` lists all."
    )
