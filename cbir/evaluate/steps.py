"""How fast pictures become features here: reading, embedding, both at once, one picture alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np

from cbir.config import FeatureExtractor
from cbir.errors import UsageError
from cbir.evaluate.speed import file_refs
from cbir.images import Batch, LoadOptions, load, prepare
from cbir.types import ImageRef, Pixels

LAPS = 5
AT_LEAST = 64
"""Pictures of a lap: fewer files are taken several times."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step, measured: images a second on all cores, ms of computing an image (all cores added
    up), ms of one picture alone by the clock (NaN where that says nothing)."""

    step: str
    images_per_second: float
    cpu_ms: float
    alone_ms: float


def measure_steps(
    embedders: Mapping[str, FeatureExtractor],
    files: Sequence[str],
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[list[StepRow], int]:
    """Laps that take turns, so that what else the machine does meets all alike; medians. And how
    many of the files were measured: those that can be read.

    embedders: of one network, by precision. Raises UsageError where no file can be read.
    """
    refs = file_refs(files)
    refs = [refs[i % len(refs)] for i in range(max(AT_LEAST, len(refs)))] if refs else []
    first = next(iter(embedders.values()))
    options = LoadOptions(first.spec)
    ready = [pixels for batch in load(refs, options) for pixels in _pixels(batch)]
    if not ready:
        raise UsageError("benchmark speed: expected pictures that can be read; received none.")
    broken = _broken(refs, options)
    sound = [ref for ref in refs if ref.file not in broken]
    block = np.stack(ready)

    def reading() -> None:
        for _ in load(sound, options):
            pass

    steps: dict[str, Callable[[], object]] = {"read, decode, resize": reading}
    for name, embedder in embedders.items():
        steps[f"embed, {name}"] = lambda e=embedder: e.features(block)  # type: ignore[misc]
    for name, embedder in embedders.items():
        steps[f"both, {name}"] = lambda e=embedder: _both(e, sound, options)  # type: ignore[misc]
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for lap in range(LAPS + 1):
        for name, work in steps.items():
            start, spent = time.perf_counter(), time.process_time()
            work()
            if lap:  # the first one warms up
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - spent)
        advance(1)
    alone = {f"both, {name}": _alone(e, sound[0].file) for name, e in embedders.items()}
    nan = float("nan")
    rows = [
        StepRow(name, len(sound) / median(wall[name]), 1000 * median(cpu[name]) / len(sound),
                 alone.get(name, nan))
        for name in steps
    ]  # fmt: skip
    return rows, len({ref.file for ref in sound})


def _pixels(batch: Batch) -> Iterator[Pixels]:
    return (image.pixels for image in batch.images if image.pixels is not None)


def _broken(refs: Sequence[ImageRef], options: LoadOptions) -> set[str]:
    return {ref.file for batch in load(refs, options) for ref, _ in batch.failures}


def _both(embedder: FeatureExtractor, refs: Sequence[ImageRef], options: LoadOptions) -> None:
    """As `cbir index` goes: the next batch is read while one is embedded."""
    with ThreadPoolExecutor(1) as pool:
        done = [pool.submit(embedder.features, np.stack(list(_pixels(batch))))
                for batch in load(refs, options)]  # fmt: skip
        for one in done:
            one.result()


def _alone(embedder: FeatureExtractor, file: str) -> float:
    """Ms from a file to its feature."""
    times = []
    for _ in range(2 * LAPS):
        start = time.perf_counter()
        pixels = prepare(file, embedder.spec).pixels
        assert pixels is not None
        embedder.features(pixels[None])
        times.append(1000 * (time.perf_counter() - start))
    return median(times)
