"""Everything that decides how an embedder is trained: one frozen record, stored with the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from cbir.config import Settings
from cbir.errors import UsageError
from cbir.images.augment import Augmentation
from cbir.train.freezing import check_plan
from cbir.train.losses import checked
from cbir.train.sampling import BatchSpec
from cbir.train.split import SplitSpec

HEADS = ("projection", "linear", "svm", "loss")
STEPS = 200
"""Batches that a training sees where its epochs are not said: a set of twice as many pictures needs
half as many epochs."""
FEWEST, MOST = 4, 20
HEAD = 256
"""Length of a head that learns alone, where it is not said."""
STRIDE = 32
"""What the side of training pictures is a multiple of: what CNNs divide it by."""
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


def _strides(side: float) -> int:
    return round(side / STRIDE) * STRIDE


@dataclass(frozen=True, slots=True)
class Recipe(Settings):
    """How an embedder is fine-tuned. The defaults were chosen on class folds of grocery's training
    part (docs/design/0009-finetune.md).

    unlabelled     "" for labels; else how classes are made without: `cbir.train.unlabelled`
    loss           name of a loss (`cbir.train.losses.LOSSES`)
    loss_options   its options, "name=value" each
    memory         embeddings of past batches that pair losses compare with too; 0: none
    dims           length of a new linear layer on top; 0: none (with layers "head": 256)
    layers         which layers learn (`cbir.train.freezing.PLANS`)
    head           with layers "head": "projection" (closed form), "linear" or "svm" (decision
                   values of a classifier), or "loss" (by gradient, on the features that are there)
    scale          side of the pictures in training, over the base's (see `sides`)
    grow           side of the pictures that the new embedder takes, over the base's
    train_norms    let BatchNorm learn too; else its statistics and scales stay
    epochs         at most; early stopping keeps the best one. 0: as many as make about 200 batches
                   (`STEPS`), 4 to 20
    patience       epochs without a better MAP@R on validation before it stops; 0: never
    learning_rate  of the network; head_factor and loss_factor: times as fast, for the new layer and
                   for the weights of the loss
    warm           epochs in which the rate rises; wait: epochs in which only head and loss learn
    decay          decoupled weight decay of the network
    accumulate     batches whose gradients are added up before a step
    devices        how many share each batch (`cbir.train.devices`)
    precision      float32, mixed_bfloat16 or mixed_float16
    seed           of everything random
    refit          where the mean rose, train once more on all pictures, those of validation too;
                   not where validation was named (held), nor without labels
    """

    unlabelled: str = ""
    loss: str = "proxy-anchor"
    loss_options: tuple[str, ...] = ()
    memory: int = 0
    dims: int = 0
    layers: str = "share:0.67"
    head: str = "projection"
    scale: float = 0.86
    grow: float = 1.15
    train_norms: bool = False
    epochs: int = 0
    patience: int = 3
    learning_rate: float = 3e-4
    head_factor: float = 1.0
    loss_factor: float = 100.0
    warm: float = 0.5
    wait: float = 0.0
    decay: float = 1e-4
    accumulate: int = 1
    devices: int = 1
    precision: Precision = "float32"
    seed: int = 0
    refit: bool = True
    batch: BatchSpec = field(default_factory=BatchSpec)
    augmentation: Augmentation = field(default_factory=Augmentation)
    split: SplitSpec = field(default_factory=SplitSpec)

    def __post_init__(self) -> None:
        check_plan(self.layers)
        if self.head not in HEADS:
            raise UsageError(f"head: expected one of {', '.join(HEADS)}; received {self.head!r}.")
        if self.precision not in get_args(Precision):
            raise UsageError(
                f"precision: expected one of {', '.join(get_args(Precision))}; received "
                f"{self.precision!r}."
            )
        for name, low, high in (
            ("dims", 0, 8192), ("epochs", 0, 10_000), ("patience", 0, 10_000),
            ("memory", 0, 1_000_000), ("accumulate", 1, 1024), ("devices", 1, 1024),
            ("scale", 0.25, 1), ("grow", 1, 2), ("decay", 0, 1), ("warm", 0, 10_000),
            ("wait", 0, 10_000),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name}: expected {low} to {high}; received {value}.")
        for name in ("learning_rate", "head_factor", "loss_factor"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(
                    f"{name}: expected a number above 0; received {getattr(self, name)}."
                )
        checked(self.loss, self.options(), self.memory)

    @property
    def head_dims(self) -> int:
        """Length of the new layer; 0 where there is none."""
        return self.dims or (HEAD if self.layers == "head" else 0)

    def sides(self, side: int) -> tuple[int, int]:
        """Sides of the pictures in training and of those that the new embedder takes, for a base
        that takes `side` pixels: `scale` and `grow` times as many, the nearest multiples of 32.

        A crop that fills the input shows things larger than they are when whole pictures are asked
        for; so pictures are larger then than in training, which takes less time, too: Touvron et
        al., Fixing the train-test resolution discrepancy (NeurIPS 2019), section 3.
        """
        small = side if self.scale == 1 else min(side, max(STRIDE, _strides(side * self.scale)))
        return small, side if self.grow == 1 else max(side, _strides(side * self.grow))

    @property
    def deciding(self) -> str:
        """The metric that early stopping and the verdict look at: MAP@R; mAP for edited copies, of
        which each has one picture to find."""
        return "mAP" if self.unlabelled else "MAP@R"

    def options(self) -> dict[str, str]:
        """The loss's options by name; UsageError where one is no "name=value"."""
        made = {}
        for text in self.loss_options:
            name, _, value = (part.strip() for part in text.partition("="))
            if not name or not value:
                raise UsageError(f"loss option: expected NAME=VALUE; received {text!r}.")
            made[name] = value
        return made

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; UsageError where keys are unknown."""
        parts: dict[str, type[Settings]] = {
            "batch": BatchSpec, "augmentation": Augmentation, "split": SplitSpec,
        }  # fmt: skip
        whole: dict[str, Any] = {
            k: parts[k].from_dict(v) if k in parts else v for k, v in data.items()
        }
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - names)
        if unknown:
            raise UsageError(f"Recipe: expected {', '.join(sorted(names))}; received also "
                             f"{', '.join(unknown)}.")  # fmt: skip
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in whole.items()
        }
        return cls(**fields)
