"""What every loss is: a Keras layer from embeddings and labels to one number.

Conventions of all losses:

- embeddings (n, d), any float type, of any length: they are cast to float32 first, and divided by
  their length where the paper compares directions (all but `softmax` and `n-pair`).
- labels int (n,), 0 to classes - 1; a row whose label is negative does not count: padding of a
  batch, an empty place of a memory.
- the result is a float32 scalar, the mean over what counts, as each docstring says. Where nothing
  counts (one class only, no two images of a class) it is 0 and so is the gradient.
- weights of a loss (proxies, centres, a bias) are in the layer: give the optimizer
  `loss.trainable_variables` as a group of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras import ops

from cbir.train.losses.numerics import Tensor, unit

SPREAD = 0.125
"""Standard deviation of a proxy's entries at the start. Directions are what counts, but an Adam
step moves an entry by about the learning rate, so the spread sets how far a step turns a proxy.
Proxy-NCA++ and, at 100 classes, Proxy-Anchor start at this value, for which their rates are."""


class MetricLoss(keras.layers.Layer):
    """A loss of embeddings and labels. It computes in float32 under every dtype policy."""

    options: ClassVar[tuple[str, ...]] = ()
    normalises: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def rows(self, embeddings: Tensor) -> Tensor:
        """Embeddings as this loss compares them: float32 (n, d), at length 1 but for raw ones."""
        rows = ops.cast(embeddings, "float32")
        return unit(rows) if self.normalises else rows

    def compute_output_spec(self, *_: Any, **__: Any) -> keras.KerasTensor:
        """A float32 scalar."""
        return keras.KerasTensor((), "float32")

    def get_config(self) -> dict[str, Any]:
        """Everything that `from_config` needs."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.options}}


class ProxyLoss(MetricLoss):
    """A loss against weights: `proxies` (classes x centres, d), the centres of a class adjacent."""

    def __init__(self, *, classes: int, dims: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.dims, self.seed = classes, dims, seed

    @property
    def centres(self) -> int:
        """Proxies of one class."""
        return 1

    def build(self, embeddings_shape: Any = None) -> None:
        """Make the proxies, normally distributed, so that their directions are uniform."""
        self.proxies = self.add_weight(
            shape=(self.classes * self.centres, self.dims),
            initializer=keras.initializers.RandomNormal(stddev=SPREAD, seed=self.seed),
            name="proxies",
        )
        self.built = True

    def call(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (n, d) and labels int (n,) → float32 scalar."""
        labels = ops.cast(labels, "int32")
        own = labels[:, None] == ops.arange(self.classes, dtype="int32")[None, :]
        return self.loss(self.similarities(self.rows(embeddings)), own, labels >= 0)

    def similarities(self, rows: Tensor) -> Tensor:
        """Rows (n, d) against all proxies: cosines, or what else the loss compares."""
        return ops.matmul(rows, ops.transpose(self.rows(self.proxies)))

    def loss(self, similarities: Tensor, own: Tensor, counts: Tensor) -> Tensor:
        """The paper's equation.

        similarities float32 (n, classes x centres); own bool (n, classes), the class of a row;
        counts bool (n,), the rows that count.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Everything that `from_config` needs."""
        own = {"classes": self.classes, "dims": self.dims, "seed": self.seed}
        return {**super().get_config(), **own}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Anchors against references.

    cosines    float32 (n, m): cosines, or inner products where a loss takes raw embeddings
    positives  bool (n, m): of one class, not the same image
    negatives  bool (n, m): of two classes
    rows       float32 (n, d): the anchors as compared
    counts     bool (n,): the anchors that are no padding
    """

    cosines: Tensor
    positives: Tensor
    negatives: Tensor
    rows: Tensor
    counts: Tensor


class PairLoss(MetricLoss):
    """A loss of anchors against references: the batch itself, or what a memory adds to it."""

    def call(
        self,
        embeddings: Tensor,
        labels: Tensor,
        reference: Tensor = None,
        reference_labels: Tensor = None,
        starts_with_batch: bool = False,
    ) -> Tensor:
        """Embeddings (n, d) and labels int (n,) → float32 scalar.

        reference          float (m, d), what the anchors are compared with; None: the batch
        reference_labels   int (m,), negative where a row does not count
        starts_with_batch  the first n references are the batch: anchor i is not its own positive
        """
        pairs = self.pairs(embeddings, labels, reference, reference_labels, starts_with_batch)
        return self.loss(pairs)

    def pairs(
        self,
        embeddings: Tensor,
        labels: Tensor,
        reference: Tensor = None,
        reference_labels: Tensor = None,
        starts_with_batch: bool = False,
    ) -> Pairs:
        """All similarities, and which are of one class; arguments as of `call`."""
        rows, labels = self.rows(embeddings), ops.cast(labels, "int32")
        others, other_labels, starts = rows, labels, True
        if reference is not None:
            others, starts = self.rows(reference), starts_with_batch
            other_labels = ops.cast(reference_labels, "int32")
        same = labels[:, None] == other_labels[None, :]
        counted = (labels >= 0)[:, None] & (other_labels >= 0)[None, :]
        positives = same & counted
        if starts:
            places = ops.arange(ops.shape(labels)[0])[:, None]
            positives = positives & (places != ops.arange(ops.shape(other_labels)[0])[None, :])
        cosines = ops.matmul(rows, ops.transpose(others))
        return Pairs(cosines, positives, ~same & counted, rows, labels >= 0)

    def loss(self, pairs: Pairs) -> Tensor:
        """The paper's equation."""
        raise NotImplementedError
