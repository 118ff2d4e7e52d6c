"""The network that learns: truncated CNN, linear head, loss; and its way back to an embedder."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from cbir.embed import Embedder, Projection
from cbir.train.devices import replicas
from cbir.types import Vectors

REST = 0.01
"""Length of a head's columns for which the projection has no component. Not 0, which pair losses
could never leave; short, so that they do not drown what the projection finds."""
ANY = 0
"""Side of pictures of any size."""
_OURS = re.compile(r"(base_)*(head|unit)")


class Learner(keras.Model):
    """`fit` on (pixels, class numbers): the loss is a layer that takes what the network gives."""

    def __init__(self, network: Any, criterion: Any) -> None:
        super().__init__(name="learner")
        self.network, self.criterion = network, criterion

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Pixels uint8 (n, s, s, 3) → float (n, d), not of unit length."""
        return self.network(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
        training: bool = True,
    ) -> Any:  # fmt: skip
        """The criterion's scalar, and what layers add."""
        loss = self.criterion(y_pred, y, training=training)
        for extra in self.losses:
            loss = loss + ops.cast(extra, loss.dtype)
        return loss / replicas()


def with_head(model: Any, start: Projection | None, dims: int, seed: int) -> Any:
    """A network with a linear layer on top: uint8 (n, s, s, 3) → float (n, dims).

    `start` (float32 components (d, f), d at most `dims`) is where the layer begins: at the
    projection that the index would use, so that training begins where the plain embedder is. None:
    random and orthogonal. dims 0: no layer on top.
    """
    if not dims:
        return keras.Model(model.input, model.output, name="network")
    return _topped(model.input, model.output, start, dims, seed)


def _topped(entry: Any, output: Any, start: Projection | None, dims: int, seed: int) -> Any:
    head = layers.Dense(
        dims, name="head", dtype="float32",
        kernel_initializer=keras.initializers.Orthogonal(seed=seed),
    )  # fmt: skip
    made = keras.Model(entry, head(output), name="network")
    if start is not None and start.components is not None:
        kernel, bias = head.get_weights()
        rows = start.components[:dims]
        kernel[:, : len(rows)] = rows.T
        kernel[:, len(rows) :] *= REST
        bias[:] = -(start.mean @ kernel)
        head.set_weights([kernel, bias])
    return made


def feature_head(length: int, start: Projection | None, dims: int, seed: int) -> Any:
    """The linear layer alone, on features that are there: float32 (n, length) → float (n, dims)."""
    entry = keras.Input((length,), name="feature")
    return _topped(entry, entry, start, dims, seed)


def own_copy(model: Any, side: int | None = None) -> Any:
    """The network with weights of its own. A head and a unit length from an earlier training are
    named after the base: names are unique in a network, and the new ones are called so.

    `side` of the pictures that it takes; None: as it is, `ANY`: of any size. Raises ValueError
    where a layer takes one size only.
    """
    entry = None
    if side is not None:
        batch, _, _, *depth = model.input.shape
        edge = side or None
        entry = keras.Input(
            batch_shape=(batch, edge, edge, *depth), dtype=model.input.dtype, name=model.input.name
        )

    def renamed(layer: Any) -> Any:
        if side is not None and isinstance(layer, keras.Model):
            return own_copy(layer, side)
        config = layer.get_config()
        if _OURS.fullmatch(layer.name):
            config = {**config, "name": f"base_{layer.name}"}
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, input_tensors=entry, clone_function=renamed)
    copy.set_weights(model.get_weights())
    return copy


def with_layer(model: Any, kernel: Vectors, bias: Vectors) -> Any:
    """A network with a given linear layer on top: kernel float32 (f, d), bias (d,)."""
    below = own_copy(model)
    made = _topped(below.input, below.output, None, kernel.shape[1], 0)
    made.get_layer("head").set_weights([kernel, bias])
    return made


def to_embedder(network: Any, base: Embedder, side: int | None = None) -> Embedder:
    """The trained network as an embedder of its own: unit features, weights "trained".

    The base's layers are made anew, in float32 and for pictures of `side` (None: the base's), with
    the network's weights: training may go on meanwhile, in another precision and on pictures of
    another size.
    """
    side = side or base.spec.input_size
    copy = own_copy(base.model, None if side == base.spec.input_size else side)
    heads = [layer.units for layer in network.layers if layer.name == "head"]
    copy = with_head(copy, None, heads[0] if heads else 0, 0)
    copy.set_weights(network.get_weights())
    outputs = layers.UnitNormalization(name="unit")(copy.output)
    made = keras.Model(copy.input, outputs, name="embedder")
    return type(base)(replace(base.spec, weights="trained", input_size=side), made)


def unit_features(network: Any, pixels: Any, batch: int = 32, whole: bool = False) -> Vectors:
    """What the network gives for uint8 (n, s, s, 3) now, at unit length: float32 (n, d).

    `whole`: on one device, though the network was built for several.
    """
    run = (lambda part: network(part, training=False)) if whole else network.predict_on_batch
    parts = [
        ops.convert_to_numpy(run(_filled(pixels[i : i + batch], batch)))[
            : len(pixels[i : i + batch])
        ]
        for i in range(0, len(pixels), batch)
    ]
    found = np.concatenate(parts).astype(np.float32)
    return Projection.none(found.shape[1]).apply(found)


def _filled(pixels: Any, size: int) -> Any:
    """A batch filled up to one size, so that one graph serves all."""
    if len(pixels) == size:
        return np.ascontiguousarray(pixels)
    fill = np.zeros((size - len(pixels), *pixels.shape[1:]), np.uint8)
    return np.concatenate((pixels, fill))
