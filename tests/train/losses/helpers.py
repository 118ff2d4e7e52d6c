"""What the tests of losses share: batches, and gradients on whatever backend Keras runs on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cbir.train.losses import LOSSES, make

Array = NDArray[Any]


def plain(values: Any) -> Array:
    """A tensor or variable of any backend as a NumPy array."""
    bare = values.value if isinstance(values, keras.Variable) else values
    return np.asarray(bare.detach() if hasattr(bare, "detach") else bare)


CLASSES, DIMS = 4, 5
# A loss with options: every miner of triplets, and what the defaults leave untried.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LOSSES},
    "softmax smooth": ("softmax", {"smoothing": 0.1}),
    "contrastive slack": ("contrastive", {"slack": 0.3, "margin": 1.2}),
    "triplet batch-hard": ("triplet", {"mining": "batch-hard", "margin": 0.4}),
    "triplet distance-weighted": ("triplet", {"mining": "distance-weighted"}),
    "triplet easy-positive": ("triplet", {"mining": "easy-positive", "margin": 0.6}),
    "triplet all": ("triplet", {"mining": "all", "margin": 0.1}),
    "soft-triple one centre": ("soft-triple", {"per_class": 1}),
    "recall-at-k few": ("recall-at-k", {"largest_k": 2, "temperature": 0.1}),
}


def variant(name: str, memory: int = 0) -> Any:
    """A loss of `VARIANTS` for the batches of `batch`."""
    loss, options = VARIANTS[name]
    return make(loss, CLASSES, DIMS, seed=3, options=options, memory=memory)


def batch(seed: int = 0, n: int = 10) -> tuple[Array, Array]:
    """Embeddings float32 (n, 5) of any length around four directions, and labels int32 (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % CLASSES).astype(np.int32)
    middles = rng.normal(size=(CLASSES, DIMS))
    rows = middles[labels] + 0.8 * rng.normal(size=(n, DIMS))
    return (rows * rng.uniform(0.5, 2.0, (n, 1))).astype(np.float32), labels


def gradients(layer: Any, rows: Array, labels: Array) -> tuple[float, list[Array]]:
    """The loss, and its gradient by the embeddings and then by each weight of the loss."""
    backend = keras.backend.backend()
    found = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](layer, rows, labels)
    return float(found[0]), [plain(one) for one in found[1]]


def _tensorflow(layer: Any, rows: Array, labels: Array) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    watched = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = layer(watched, labels)
    wanted = [watched, *[v.value for v in layer.trainable_variables]]
    return loss, tape.gradient(loss, wanted)


def _jax(layer: Any, rows: Array, labels: Array) -> tuple[Any, list[Any]]:
    import jax

    def loss(rows: Any, weights: Any) -> Any:
        state = [v.value for v in layer.non_trainable_variables]
        return layer.stateless_call(weights, state, rows, labels)[0]

    weights = [v.value for v in layer.trainable_variables]
    found, (by_rows, by_weights) = jax.value_and_grad(loss, argnums=(0, 1))(rows, weights)
    return found, [by_rows, *by_weights]


def _torch(layer: Any, rows: Array, labels: Array) -> tuple[Any, list[Any]]:
    import torch

    watched = torch.tensor(rows, requires_grad=True)
    loss = layer(watched, labels)
    wanted = [watched, *[v.value for v in layer.trainable_variables]]
    return loss.detach(), [g.detach() for g in torch.autograd.grad(loss, wanted)]
