"""Batches for Keras' `fit`: chosen rows, randomly changed, in a few threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cbir.images.augment import Augmentation, augment
from cbir.types import Ids, Pixels, Vectors

WORKERS = 2


class FeatureBatches(keras.utils.PyDataset):
    """One epoch on features: batch i is float32 (b, f) and targets int32 (b,)."""

    def __init__(self, features: Vectors, targets: Ids, batches: Sequence[Ids]) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.features, self.targets, self.batches = features, targets, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, at: int) -> Any:
        rows = self.batches[at]
        return self.features[rows], self.targets[rows].astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Pixels uint8 (n, s, s, 3), what each row is (int64 (n,)), and the network's input size."""

    pixels: Pixels
    targets: Ids
    size: int


class Batches(keras.utils.PyDataset):
    """One epoch: batch i is pixels uint8 (b, size, size, 3) and targets int32 (b,).

    Each picture's random changes follow from (seed, epoch, batch, place), so that it does not
    matter which thread makes it, nor what came before.
    """

    def __init__(
        self, source: Source, batches: Sequence[Ids], how: Augmentation, seed: tuple[int, int]
    ) -> None:
        super().__init__(workers=WORKERS, use_multiprocessing=False, max_queue_size=4)
        self.source, self.batches, self.how, self.seed = source, batches, how, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, at: int) -> Any:
        source, rows = self.source, self.batches[at]
        out = np.empty((len(rows), source.size, source.size, 3), np.uint8)
        for place, row in enumerate(rows.tolist()):
            rng = np.random.default_rng([*self.seed, at, place])
            out[place] = augment(source.pixels[row], source.size, self.how, rng)
        return out, source.targets[rows].astype(np.int32)
