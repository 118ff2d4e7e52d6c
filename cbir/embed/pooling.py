"""Feature map → vector. One registry, which every pooling joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cbir.errors import EmbedderError, UsageError


def global_average(tensor: Any) -> Any:
    """Mean over all places: (n, h, w, c) → (n, c); tokens (n, t, c) → (n, c).

    Lin, Chen and Yan, Network in Network (ICLR 2014), section 3.2; as a descriptor: Babenko and
    Lempitsky, Aggregating Deep Convolutional Features (ICCV 2015).
    """
    from keras import layers

    if len(tensor.shape) == 4:
        return layers.GlobalAveragePooling2D(name="gap")(tensor)
    return layers.GlobalAveragePooling1D(name="gap")(tensor)


POOLINGS: Mapping[str, Callable[[Any], Any]] = {"gap": global_average}


def pool(name: str, tensor: Any) -> Any:
    """A Keras tensor (n, h, w, c), (n, t, c) or (n, c) as (n, c); the last stays as it is.

    Raises UsageError for a pooling that is unknown, EmbedderError for another rank.
    """
    if name not in POOLINGS:
        raise UsageError(
            f"pooling: expected one of {', '.join(sorted(POOLINGS))}; received {name!r}."
        )
    rank = len(tensor.shape)
    if rank == 2:
        return tensor
    if rank not in (3, 4):
        raise EmbedderError(
            f"cut: expected a layer whose output has 2, 3 or 4 axes; received {rank}. Cut at "
            "another layer."
        )
    return POOLINGS[name](tensor)
