"""Many small files in one run: does indexing slow down, or its memory grow, as the index does?

    python benchmarks/many.py --data FOLDER --images 120000    # FOLDER: mnist.npz, clothing/
    python benchmarks/many.py --smoke

70,000 digits of MNIST as PNG, and crops of photographs as JPEG up to the number that is asked for,
in folders of 1,000. They are indexed by `cbir.lifecycle.sync` in one process; after every 1,000
files time and resident memory are noted. The rate of the last quarter is compared with that of the
second one, memory likewise. Writes benchmarks/results/many.json and many.png.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, save, say
from PIL import Image

from cbir.images.sample import photographs
from cbir.lifecycle import SyncOptions, sync
from cbir.lifecycle.embedders import EmbedderRequest
from cbir.types import Pixels

EVERY = 1000


def write_files(folder: Path, digits: Pixels, photos: list[Pixels], count: int) -> None:
    """So many different small pictures, 1,000 in a folder."""
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / f"{i // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        if i < len(digits):
            Image.fromarray(digits[i]).save(place / f"{i:06d}.png")
            continue
        photo = photos[i % len(photos)]
        side = int(rng.integers(60, 200))
        y, x = (int(rng.integers(0, n - side)) for n in photo.shape[:2])
        Image.fromarray(photo[y : y + side, x : x + side]).save(place / f"{i:06d}.jpg", quality=85)


class Watch:
    """Notes files, seconds and resident memory while a job goes on."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._done, self._indexing = 0, False
        self._start = time.perf_counter()

    def stage(self, name: str, total: int | None = None) -> None:
        """Only the indexing itself counts."""
        self._indexing = name == "indexing"
        self._start = time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """A batch is stored."""
        if not self._indexing:
            return
        before, self._done = self._done, self._done + steps
        if before // EVERY != self._done // EVERY:
            self.rows.append({"files": self._done, "seconds": time.perf_counter() - self._start,
                              "rss_mb": resident()})  # fmt: skip


def resident() -> float:
    """Megabytes that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(folder: str, index: str, size: int | None) -> dict[str, Any]:
    """Index the folder; rates and memory by quarter."""
    watch = Watch()
    report = sync(index, [folder], SyncOptions(calibrate=False),
                  embedder=EmbedderRequest(input_size=size), progress=watch)  # fmt: skip
    rows = watch.rows
    rates = [
        (later["files"] - row["files"]) / (later["seconds"] - row["seconds"])
        for row, later in zip(rows, rows[1:], strict=False)
    ]
    quarter = max(1, len(rates) // 4)
    second = float(np.median(rates[quarter : 2 * quarter] or rates))
    last = float(np.median(rates[-quarter:]))
    memory = [row["rss_mb"] for row in rows]
    found = {
        "images": report.images, "seconds": report.seconds, "run_by": report.run_by,
        "images_per_second": report.embedded / report.seconds,
        "rate_second_quarter": second, "rate_last_quarter": last, "rate_ratio": last / second,
        "rss_mb_quarter": memory[len(memory) // 4], "rss_mb_end": memory[-1],
        "rss_growth_mb_per_100k": 1e5 * (memory[-1] - memory[len(memory) // 4])
        / max(1, rows[-1]["files"] - rows[len(rows) // 4]["files"]),
        "rows": rows,
    }  # fmt: skip
    say(f"{report.images:,} images in {report.seconds:.0f} s: "
        f"{found['images_per_second']:.0f} images/s; last quarter "
        f"{last / second:.3f} times the second one's rate; memory {memory[len(memory) // 4]:.0f} "
        f"MB after a quarter, {memory[-1]:.0f} MB at the end ({report.run_by})")  # fmt: skip
    return found


def plot(found: dict[str, Any], file: Path) -> None:
    """Images/s and memory over the files that were indexed."""
    from matplotlib.figure import Figure

    rows = found["rows"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    rate, memory = figure.subplots(2, 1, sharex=True)
    x = [row["files"] for row in rows]
    rate.plot(x[1:], [(b["files"] - a["files"]) / (b["seconds"] - a["seconds"])
                      for a, b in zip(rows, rows[1:], strict=False)], color="#2457a6")  # fmt: skip
    memory.plot(x, [row["rss_mb"] for row in rows], color="#b3561b")
    rate.set_ylabel("images/s")
    memory.set_ylabel("memory, MB")
    memory.set_xlabel("images indexed")
    for axes in (rate, memory):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.grid(True, alpha=0.3)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Make the files, index them, print, draw, keep."""
    parser = argparse.ArgumentParser(description="Many small files in one run")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "files"
        if chosen.smoke:
            rng = np.random.default_rng(0)
            digits = rng.integers(0, 256, (3000, 28, 28), dtype=np.uint8)
            write_files(gallery, digits, photographs(4), 3200)
            found = measured(str(gallery), str(Path(folder) / "index"), 32)
            plot(found, Path(folder) / "many.png")
            return
        with np.load(chosen.data / "mnist.npz") as data:
            digits = np.concatenate((data["x_train"], data["x_test"]))
        photos = []
        for file in sorted((chosen.data / "clothing").rglob("*.jpg"))[::20]:
            with Image.open(file) as image:
                photos.append(np.asarray(image.convert("RGB")))
        write_files(gallery, digits, photos, chosen.images)
        found = measured(str(gallery), str(Path(folder) / "index"), None)
    out = save("many", {"machine": machine(), **found})
    plot(found, out.with_suffix(".png"))
    say(f"written: {out}")


if __name__ == "__main__":
    main()
