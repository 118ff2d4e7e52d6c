"""Everything that decides how a network is trained from scratch: one frozen record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from cbir.config import ResizePolicy, Settings
from cbir.errors import UsageError
from cbir.images.augment import Augmentation

OptimizerName = Literal["adamw", "sgd"]
RATES: Mapping[str, float] = {"adamw": 1e-3, "sgd": 0.05}


@dataclass(frozen=True, slots=True)
class ScratchRecipe(Settings):
    """How a network is trained from scratch, stored with what it made.

    backbone       a name of the registry
    input_size     side of the square input; resize: how a picture becomes square
    epochs         at most; patience: epochs without a better validation before it stops, 0: never
    batch          pictures in a batch
    optimizer      adamw, or sgd with Nesterov momentum .9
    learning_rate  at its highest: it rises for `warm` epochs, then falls as half a cosine
    decay          decoupled weight decay of kernels
    smoothing      label smoothing: this share of the target goes to all classes alike (Szegedy et
                   al., Rethinking the Inception Architecture, CVPR 2016, section 7)
    seed           of everything random
    """

    backbone: str
    input_size: int
    resize: ResizePolicy = "squash"
    epochs: int = 30
    patience: int = 0
    batch: int = 32
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    warm: float = 1.0
    decay: float = 1e-4
    smoothing: float = 0.0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(OptimizerName):
            raise UsageError(f"optimizer: expected adamw or sgd; received {self.optimizer!r}.")
        for name, low, high in (
            ("epochs", 1, 100_000), ("patience", 0, 100_000), ("batch", 1, 65_536),
            ("warm", 0, 100_000), ("decay", 0, 1), ("smoothing", 0, 0.9),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name}: expected {low} to {high}; received {value}.")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(
                f"learning_rate: expected a number above 0; received {self.learning_rate}."
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; UsageError where keys are unknown."""
        unknown = sorted(set(data) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise UsageError(f"ScratchRecipe: received also {', '.join(unknown)}.")
        parts = {k: v for k, v in data.items() if k != "augmentation"}
        return cls(**parts, augmentation=Augmentation.from_dict(data["augmentation"]))
