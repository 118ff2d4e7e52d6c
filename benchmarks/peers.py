"""cbir beside what its peers do: their loops rebuilt, side by side, taking turns.

    python benchmarks/peers.py --data FOLDER                 # FOLDER/clothing
    python benchmarks/peers.py --data FOLDER --backbone resnet50
    python benchmarks/peers.py --smoke

From files to features, on the same files of 500 x 375, 1600 x 1200 and 4000 x 3000 pixels:

    naive    open, resize, Keras `predict` picture by picture (sis, pupyl and most tutorials)
    batches  the same with `predict` on 32 at a time
    torch    a torch eager loop with batches of 32 and two loading threads (imagededup, timm,
             sentence-transformers users), ResNet-50 only, where torch is installed
    cbir     as `cbir index` does it, f32; and in the precision that `auto` chooses

Weights are random but for EfficientNet-Lite0: speed does not depend on them. Writes
benchmarks/results/peers-BACKBONE.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, save, say
from PIL import Image
from speed_pictures import SIZES, Job, photos
from timing import Contestant, ratio, ratio_text, take_turns
from torch_resnet50 import resnet50

from cbir import Embedder
from cbir.config import EmbedderSpec, FeatureExtractor, Precision, RuntimeChoice, using_runtime
from cbir.evaluate.precisions import choose_precision, material, measure_precisions
from cbir.images import LoadOptions, load, make_sample
from cbir.machine import cores
from cbir.types import ImageRef

SIDE = 224


def opened(file: str) -> np.ndarray:
    """A picture as tutorials read it: whole, then resized; uint8 (224, 224, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def naive(model: Any, files: list[str]) -> Callable[[], int]:
    """Picture by picture."""

    def work() -> int:
        for file in files:
            model.predict(opened(file)[None], verbose=0)
        return len(files)

    return work


def batches(model: Any, files: list[str]) -> Callable[[], int]:
    """32 at a time."""

    def work() -> int:
        for start in range(0, len(files), 32):
            block = np.stack([opened(file) for file in files[start : start + 32]])
            model.predict(block, verbose=0)
        return len(files)

    return work


def by_cbir(embedder: FeatureExtractor, files: list[str]) -> Callable[[], int]:
    """As `cbir index` reads and embeds; decoding goes on while a batch is embedded."""
    refs = [ImageRef("/", file.lstrip("/"), 0, 0) for file in files]

    def work() -> int:
        with ThreadPoolExecutor(1) as pool:
            done = [
                pool.submit(embedder.features, np.stack([i.pixels for i in batch.images
                                                         if i.pixels is not None]))
                for batch in load(refs, LoadOptions(embedder.spec))
            ]  # fmt: skip
            return sum(len(one.result()) for one in done)

    return work


def by_torch(files: list[str]) -> Callable[[], int]:
    """A torch eager loop: two loading threads, batches of 32, channels last."""
    import torch

    torch.set_num_threads(cores())
    model = resnet50().to(memory_format=torch.channels_last)
    mean, deviation = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406),
                                                         (0.229, 0.224, 0.225)))  # fmt: skip

    def ready(file: str) -> np.ndarray:
        return (opened(file).astype(np.float32) / 255 - mean) / deviation

    def work() -> int:
        with torch.inference_mode(), ThreadPoolExecutor(2) as pool:
            for start in range(0, len(files), 32):
                block = np.stack(list(pool.map(ready, files[start : start + 32])))
                tensor = torch.from_numpy(block).permute(0, 3, 1, 2)
                model(tensor.contiguous(memory_format=torch.channels_last)).numpy()
        return len(files)

    return work


def race(
    job: Job, backbone: str, size: str, made: dict[Precision, FeatureExtractor], chosen: Precision
) -> dict[str, Any]:
    """All ways on files of one size."""
    model = made["f32"].model  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        count = 4 if job.quick else 16 if size == "4000x3000" else 32
        files = photos(job, folder, size, SIZES[size], count)
        few = files[: max(2, count // 4)]
        racing = [Contestant("naive", naive(model, few)),
                  Contestant("batches", batches(model, files))]  # fmt: skip
        if backbone == "resnet50":
            try:
                racing.append(Contestant("torch", by_torch(files)))
            except ImportError:
                say("torch is left out: it is not installed")
        racing += [Contestant(f"cbir {precision}", by_cbir(made[precision], files))
                   for precision in dict.fromkeys(("f32", chosen))]  # fmt: skip
        take_turns(racing, job.rounds(5))
    theirs = [one for one in racing if not one.name.startswith("cbir")]
    ratios = {f"{own.name} / {other.name}": {"cpu": ratio(own, other),
                                             "wall": ratio(own, other, "wall")}
              for own in racing if own.name.startswith("cbir") for other in theirs}  # fmt: skip
    say(f"\n{backbone}, files of {size}\n\n| | images/s | images a CPU-second |\n|---|---|---|")
    for one in racing:
        row = one.row()
        say(f"| {one.name} | {row['per_second']} | {row['per_cpu_second']} |")
    for pair, both in ratios.items():
        by_cpu, by_clock = ratio_text(both["cpu"]), ratio_text(both["wall"])
        say(f"{pair}: {by_cpu} times by CPU, {by_clock} by the clock")
    return {"rows": [one.row() for one in racing], "ratios": ratios}


def peers(job: Job, backbone: str) -> dict[str, Any]:
    """Every size, with the precision that `auto` takes on these pictures."""
    weights = "imagenet" if backbone.startswith("efficientnet-lite") else "random:0"
    with using_runtime(RuntimeChoice("openvino")):
        base = Embedder.from_spec(EmbedderSpec(backbone, weights))
        rows, made = measure_precisions(base, ("f32", "bf16", "int8"),
                                        material(job.files, base.spec))  # fmt: skip
        chosen = choose_precision(rows)
        speeds = {row.precision: row.images_per_second for row in rows}
        say(f"auto: {chosen}; embedding alone, images/s: "
            + ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items()))  # fmt: skip
        sizes = list(SIZES)[:2] if job.quick else list(SIZES)
        found = {size: race(job, backbone, size, made, chosen) for size in sizes}
    return {"auto": chosen, "embedding": speeds, **found}


def main() -> None:
    """Race, print, keep."""
    parser = argparse.ArgumentParser(description="cbir beside what its peers do")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if chosen.smoke:
        with tempfile.TemporaryDirectory() as folder:
            make_sample(folder)
            files = sorted(str(p) for p in Path(folder).rglob("original.jpg"))
            peers(Job(files, {}, quick=True), chosen.backbone)
        return
    if chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    files = sorted(str(p) for p in (chosen.data / "clothing").rglob("*.jpg"))[::8]
    found = peers(Job(files, {}, quick=False), chosen.backbone)
    say(f"written: {save(f'peers-{chosen.backbone}', {'machine': machine(), **found})}")


if __name__ == "__main__":
    main()
