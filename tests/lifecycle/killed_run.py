"""A `sync` that a test kills: logs every batch before it embeds it.

python -m tests.lifecycle.killed_run INDEX FOLDER LOG BATCH [calibrate]
"""

from __future__ import annotations

import sys
import time

from cbir.lifecycle import SyncOptions, sync
from cbir.types import Pixels, Vectors
from tests.conftest import GridEmbedder


class LoggedGrid(GridEmbedder):
    """Writes how many images a batch has, then takes some time over it."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self._log = log

    def features(self, pixels: Pixels) -> Vectors:
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(f"{len(pixels)}\n")
        time.sleep(0.01)
        return super().features(pixels)


if __name__ == "__main__":
    index, folder, log, batch, *calibrate = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sync(
        index,
        [folder],
        SyncOptions(batch_size=int(batch), calibrate=bool(calibrate)),
        embedder=LoggedGrid(log),
    )
