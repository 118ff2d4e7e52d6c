"""How fast pictures become features here, and where the time goes.

    python benchmarks/speed.py --data FOLDER --part runtimes    # backbone x runtime x batch
    python benchmarks/speed.py --data FOLDER --part roofline    # against the processor's best GEMM
    python benchmarks/speed.py --data FOLDER --part decode      # JPEG sizes: time and features
    python benchmarks/speed.py --data FOLDER --part pipeline    # cbir index against its parts
    python benchmarks/speed.py --data FOLDER --part query       # cold command, warm query
    python benchmarks/speed.py --data FOLDER --part precision   # bf16 and int8 on labelled pictures
    python benchmarks/speed.py --smoke                          # each part on a few pictures

Contestants take turns, ratios are pair by pair (benchmarks/timing.py). Writes
benchmarks/results/speed-PART.json. FOLDER holds clothing/ and grocery/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import machine, protocols, save, say
from common import smoke as sample_protocol
from PIL import Image
from timing import Contestant, ratio, ratio_text, take_turns

from cbir import Embedder, Index
from cbir.config import EmbedderSpec, IndexSpec, RuntimeChoice, using_runtime
from cbir.embed.runtimes.keras_graph import KerasRuntime
from cbir.embed.runtimes.openvino_ir import OpenVinoRuntime, convert
from cbir.evaluate import Truth
from cbir.evaluate.metrics import paired_difference
from cbir.evaluate.precisions import choose_precision, material, measure_precisions
from cbir.evaluate.protocol import per_query, summarise
from cbir.evaluate.run import answered, truth_features
from cbir.images import DecodeOptions, decode, resize
from cbir.machine import cores
from cbir.types import Pixels

SIZES = {"500x375": (500, 375), "1600x1200": (1600, 1200), "4000x3000": (4000, 3000)}


@dataclass(frozen=True)
class Job:
    """What a part works on: picture files, protocols, and whether it is a trial run."""

    files: list[str]
    truths: dict[str, Truth]
    quick: bool

    def rounds(self, full: int) -> int:
        """Rounds of a comparison."""
        return 1 if self.quick else full


def shown(job: Job, side: int, count: int) -> Pixels:
    """Pictures made ready, uint8 (count, side, side, 3)."""
    wanted = [job.files[i % len(job.files)] for i in range(count)]
    return np.stack([resize(decode(f, DecodeOptions(side)).pixels, side, "squash") for f in wanted])


# -- runtimes ------------------------------------------------------------------------------------


def runtimes(job: Job) -> dict[str, Any]:
    """Features of pictures that are in memory, by backbone, runtime and batch."""
    names = ["efficientnet-lite0"] if job.quick else [
        "efficientnet-lite0", "resnet50", "efficientnetv2b0", "mobilenetv3large"]  # fmt: skip
    found: dict[str, Any] = {}
    for name in names:
        weights = "imagenet" if name.startswith("efficientnet-lite") else "random:0"
        side = 64 if job.quick else 224
        with using_runtime(RuntimeChoice("keras")):
            embedder = Embedder.from_spec(EmbedderSpec(name, weights, input_size=side))
        pixels = shown(job, side, 8 if job.quick else 32)
        racing = contestants(embedder, pixels)
        take_turns(racing, job.rounds(5))
        by = {one.name: one for one in racing}
        pairs = [("frozen, one by one", "predict, one by one"), ("frozen, 32", "predict, 8"),
                 ("openvino f32", "frozen, 32"), ("openvino f32", "predict, one by one"),
                 ("openvino f32", "predict, 32"), ("openvino bf16", "openvino f32"),
                 ("openvino int8", "openvino f32")]  # fmt: skip
        ratios = {f"{a} / {b}": {"cpu": ratio(by[a], by[b]), "wall": ratio(by[a], by[b], "wall")}
                  for a, b in pairs if a in by and b in by}  # fmt: skip
        found[name] = {"rows": [one.row() for one in racing], "ratios": ratios}
        say(f"\n{name}, {side} px\n\n| runtime | images/s | images a CPU-second |\n|---|---|---|")
        for one in racing:
            row = one.row()
            say(f"| {one.name} | {row['per_second']} | {row['per_cpu_second']} |")
        for pair, both in ratios.items():
            say(f"{pair}: {ratio_text(both['cpu'])} times by CPU, {ratio_text(both['wall'])} by "
                "the clock")  # fmt: skip
    return found


def contestants(embedder: Embedder, pixels: Pixels) -> list[Contestant]:
    """Keras' predict, the frozen graph and OpenVINO, on the same pictures."""
    model, n = embedder.model, len(pixels)

    def predict(batch: int) -> Callable[[], int]:
        def work() -> int:
            for start in range(0, n, batch):
                model.predict(pixels[start : start + batch], verbose=0)
            return n

        return work

    frozen = KerasRuntime(model)

    def alone() -> int:
        for row in pixels[:8]:
            frozen(row[None])
        return min(8, n)

    def whole(run: Callable[[Pixels], Any]) -> Callable[[], int]:
        def work() -> int:
            run(pixels)
            return n

        return work

    def one_by_one() -> int:
        for row in pixels[:8]:
            model.predict(row[None], verbose=0)
        return min(8, n)

    made = [Contestant("predict, one by one", one_by_one), Contestant("predict, 8", predict(8)),
            Contestant("predict, 32", predict(32)), Contestant("frozen, one by one", alone),
            Contestant("frozen, 32", whole(frozen))]  # fmt: skip
    folder = tempfile.mkdtemp()
    path = convert(model, folder)
    made += [Contestant(f"openvino {precision}", whole(OpenVinoRuntime(path, precision)))
             for precision in ("f32", "bf16")]  # fmt: skip
    try:
        with using_runtime(RuntimeChoice("openvino")):
            other = Embedder(embedder.spec, model, choice=RuntimeChoice("openvino"))
            eight = other.with_precision("int8", np.concatenate([pixels] * (-(-32 // n)))[:64])
        made.append(Contestant("openvino int8", whole(eight.run)))
    except Exception as error:  # no nncf, or a network that does not survive it
        say(f"int8 is left out: {error}")
    return made


# -- roofline ------------------------------------------------------------------------------------


def roofline(job: Job) -> dict[str, Any]:
    """ResNet50's arithmetic a second against the best f32 matrix product of three libraries."""
    n = 256 if job.quick else 2048
    with using_runtime(RuntimeChoice("keras")):
        side = 64 if job.quick else 224
        embedder = Embedder.from_spec(EmbedderSpec("resnet50", "random:0", input_size=side))
    pixels = shown(job, side, 4 if job.quick else 16)
    work = flops(embedder.model)
    run = OpenVinoRuntime(convert(embedder.model, tempfile.mkdtemp()))

    def network() -> int:
        run(pixels)
        return int(work * len(pixels) / 1e6)

    racing = [Contestant("resnet50, openvino f32", network), *products(n)]
    take_turns(racing, job.rounds(7))
    rows = {
        one.name: {"gflops": round(1e-3 / median(one.wall), 1),
                   "gflops_a_core": round(1e-3 / median(one.cpu), 1)}
        for one in racing
    }  # fmt: skip
    say(f"\n{work / 1e9:.2f} GFLOP a picture\n\n| | GFLOP/s | GFLOP a CPU-second |\n|---|---|---|")
    for name, row in rows.items():
        say(f"| {name} | {row['gflops']} | {row['gflops_a_core']} |")
    best = min(racing[1:], key=lambda one: median(one.cpu))
    share = ratio(racing[0], best)
    say(f"ResNet50 reaches {ratio_text(share)} of the best product ({best.name}), by CPU")
    return {"rows": rows, "best": best.name, "share": share,
            "share_wall": ratio(racing[0], best, "wall")}  # fmt: skip


def products(n: int) -> list[Contestant]:
    """f32 matrix products of n x n by NumPy, OpenVINO and (where installed) torch, in MFLOP."""
    from cbir.embed.runtimes.openvino_ir import openvino

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    mega = int(2 * n**3 / 1e6)

    def by_numpy() -> int:
        np.matmul(a, b)
        return mega

    ov = openvino()
    left = ov.opset13.parameter([n, n], np.float32)
    network = ov.Model([ov.opset13.matmul(left, ov.opset13.constant(b), False, False)], [left])
    request = ov.Core().compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": cores(),
    }).create_infer_request()  # fmt: skip

    def by_openvino() -> int:
        request.infer({0: a})
        return mega

    made = [Contestant("NumPy", by_numpy), Contestant("OpenVINO MatMul", by_openvino)]
    try:
        import torch
    except ImportError:
        return made
    x, y = torch.from_numpy(a), torch.from_numpy(b)

    def by_torch() -> int:
        torch.mm(x, y)
        return mega

    return [*made, Contestant("torch", by_torch)]


def flops(model: Any) -> float:
    """Floating-point operations of one picture: two for each multiplication of a convolution or a
    dense layer (what else there is costs little)."""
    import keras

    total = 0.0
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            _, h, w, _ = layer.output.shape
            total += 2.0 * h * w * float(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += 2.0 * float(np.prod(layer.kernel.shape))
    return total


# -- decode --------------------------------------------------------------------------------------


def decoding(job: Job) -> dict[str, Any]:
    """Files of three sizes: Pillow at full size against cbir's reduced scale, and the features."""
    sizes = dict(list(SIZES.items())[:2]) if job.quick else SIZES
    embedder = Embedder.load("efficientnet-lite0")
    found: dict[str, Any] = {}
    say("\n| | Pillow, images a CPU-second | cbir | times as fast | least cosine of features |")
    say("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, size in sizes.items():
            files = photos(job, folder, name, size, 4 if job.quick else 12)
            racing = [Contestant("cbir", decoder(files, 224)), Contestant("Pillow", decoder(files))]
            take_turns(racing, job.rounds(5))
            features = [
                embedder.features(np.stack([resize(read(f, s), 224, "squash") for f in files]))
                for s in (224, None)
            ]
            unit = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in features]
            cosines = (unit[0] * unit[1]).sum(axis=1)
            times = ratio(racing[0], racing[1])
            found[name] = {"rows": [one.row() for one in racing], "ratio": times,
                           "least_cosine": float(cosines.min()),
                           "mean_cosine": float(cosines.mean())}  # fmt: skip
            rates = [one.row()["per_cpu_second"] for one in racing]
            say(f"| {name} | {rates[1]} | {rates[0]} | {ratio_text(times)} | {cosines.min():.5f} |")
    return found


def read(file: str, side: int | None) -> Pixels:
    """A picture, decoded no smaller than twice the side; None: whole."""
    return decode(file, DecodeOptions(side)).pixels


def decoder(files: list[str], side: int | None = None) -> Callable[[], int]:
    """Reads files, decodes and resizes them: as cbir does for this side, or with plain Pillow."""

    def by_cbir() -> int:
        for file in files:
            resize(read(file, side), 224, "squash")
        return len(files)

    def by_pillow() -> int:
        for file in files:
            with Image.open(file) as image:
                np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        return len(files)

    return by_pillow if side is None else by_cbir


def photos(job: Job, folder: str, name: str, size: tuple[int, int], count: int) -> list[str]:
    """JPEGs of this size: mosaics of real photographs, since scaled-up ones would decode faster."""
    width, height = size
    made = []
    tile = 500 if width > 500 else width
    for i in range(count):
        canvas = Image.new("RGB", size)
        at = 0
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                with Image.open(job.files[(i * 7 + at * 13) % len(job.files)]) as image:
                    canvas.paste(image.convert("RGB").resize((tile, tile)), (x, y))
                at += 1
        made.append(os.path.join(folder, f"{name}-{i:03d}.jpg"))
        canvas.save(made[-1], quality=90)
    return made


# -- pipeline ------------------------------------------------------------------------------------


def pipeline(job: Job) -> dict[str, Any]:
    """`cbir index` on files of 500x375 against the sum of decoding and embedding on all cores."""
    count = 24 if job.quick else 1200
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        gallery = os.path.join(folder, "photos")
        os.makedirs(gallery)
        files = photos(job, gallery, "p", (500, 375), count)
        embedder = Embedder.load("efficientnet-lite0")
        embedder.features(shown(job, 224, 8))
        pixels = np.stack([resize(read(f, 224), 224, "squash") for f in files[:64]])

        def compute() -> int:
            embedder.features(pixels)
            return len(pixels)

        racing = [Contestant("decode", decoder(files[:64], 224)), Contestant("embed", compute)]
        take_turns(racing, job.rounds(5))
        parts = sum(median(one.cpu) for one in racing)
        for turn in range(1 if job.quick else 3):
            done = index_command(gallery, os.path.join(folder, f"index{turn}"))
            work = done["seconds"] - done["stages"]["scan_s"] - done["stages"]["derive_s"]
            share = parts * count / cores() / work
            say(f"{count / work:.1f} images/s; decode + embed alone on {cores()} cores would be "
                f"{cores() / parts:.1f}: {share:.3f} of it ({done['run_by']})")  # fmt: skip
            found[f"run {turn + 1}"] = {"images_per_second": count / work, "share": share, **done}
        found["parts"] = [one.row() for one in racing]
    return found


def index_command(gallery: str, index: str, *more: str) -> dict[str, Any]:
    """`cbir index --json` in a process of its own, without calibration."""
    command = [sys.executable, "-m", "cbir", "index", gallery, "-i", index, "--json",
               "--no-calibrate", *more]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- query ---------------------------------------------------------------------------------------


def query(job: Job) -> dict[str, Any]:
    """The command from a cold process, with and without what was compiled; a warm index."""
    count = 60 if job.quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        gallery, index = os.path.join(folder, "photos"), os.path.join(folder, "index")
        os.makedirs(gallery)
        for i in range(count):  # small crops of photographs: many files, all different
            with Image.open(job.files[i % len(job.files)]) as image:
                side = min(image.size)
                x = (i * 37) % (image.width - side // 2)
                y = (i * 53) % (image.height - side // 2)
                part = image.convert("RGB").crop((x, y, x + side // 2, y + side // 2))
                part.resize((160, 160)).save(os.path.join(gallery, f"{i:05d}.jpg"))
        made = index_command(gallery, index)
        asked = photos(job, folder, "q", (500, 375), 4 if job.quick else 20)
        rounds = 1 if job.quick else 7
        times: dict[str, list[float]] = {"openvino": [], "keras": []}
        for turn in range(rounds):
            for runtime in times:
                if runtime == "keras" and turn >= 3:
                    continue
                command = [sys.executable, "-m", "cbir", "query", asked[turn % len(asked)], "-i",
                           index, "--json", "--runtime", runtime]  # fmt: skip
                start = time.perf_counter()
                subprocess.run(command, capture_output=True, check=True)
                times[runtime].append(time.perf_counter() - start)
        with Index.open(index) as opened:
            opened.query(asked[0])
            warm, searches = [], []
            features = np.stack([opened.examples([a])[0].feature[0] for a in asked])
            for turn in range(len(asked) if job.quick else 100):
                start = time.perf_counter()
                opened.query(asked[turn % len(asked)])
                warm.append(1000 * (time.perf_counter() - start))
                start = time.perf_counter()
                opened.search(features[turn % len(asked)][None], 10)
                searches.append(1000 * (time.perf_counter() - start))
    found = {
        "images": count, "index_s": made["seconds"],
        **{f"cold_{name}_s": {"median": median(t), "most": max(t)} for name, t in times.items()},
        "warm_ms": {"p50": median(warm), "p99": float(np.percentile(warm, 99))},
        "search_ms": {"p50": median(searches), "p99": float(np.percentile(searches, 99))},
    }  # fmt: skip
    say(json.dumps(found, indent=2))
    return found


# -- precision -----------------------------------------------------------------------------------


def precision(job: Job) -> dict[str, Any]:
    """f32, bf16 and int8 on labelled pictures, with intervals; and what `auto` chooses."""
    found: dict[str, Any] = {}
    for name, truth in job.truths.items():
        with using_runtime(RuntimeChoice("openvino")):
            base = Embedder.load("efficientnet-lite0")
            on = material([truth.paths[i] for i in truth.gallery.tolist()], base.spec)
            rows, made = measure_precisions(base, ("f32", "bf16", "int8"), on)
            values = {}
            for kind, embedder in made.items():
                features = truth_features(truth, embedder, None)
                (projection,) = features.projections([IndexSpec()])
                values[kind] = answered(features, IndexSpec(), projection)
        say(f"\n{name}\n\n| precision | recall@1 | mAP | mAP to f32, 95 % | images/s | overlap |")
        say("|---|---|---|---|---|---|")
        plain = per_query(values["f32"])["mAP"]
        found[name] = {"auto": choose_precision(rows), "rows": []}
        for row in rows:
            if row.precision not in values:
                say(f"| {row.precision} | {row.problem} |")
                continue
            summary = summarise(values[row.precision])
            gain = paired_difference(plain, per_query(values[row.precision])["mAP"])
            metrics = summary.metrics
            found[name]["rows"].append({
                "precision": row.precision, "metrics": metrics,
                "intervals": {m: list(v) for m, v in summary.intervals.items()},
                "mAP_difference": list(gain), "images_per_second": row.images_per_second,
                "overlap@10": row.overlap, "self_recall@1": row.recall, "cosine": row.cosine,
            })  # fmt: skip
            say(f"| {row.precision} | {metrics['recall@1']:.3f} | {metrics['mAP']:.3f} | "
                f"{gain[0]:+.4f} ({gain[1]:+.4f} to {gain[2]:+.4f}) | "
                f"{row.images_per_second:.0f} | {row.overlap:.3f} |")  # fmt: skip
        say(f"auto: {found[name]['auto']}")
    return found


PARTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "runtimes": runtimes, "roofline": roofline, "decode": decoding, "pipeline": pipeline,
    "query": query, "precision": precision,
}  # fmt: skip


def main() -> None:
    """Run a part, print it, keep it."""
    parser = argparse.ArgumentParser(description="How fast pictures become features")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--part", choices=sorted(PARTS), default="runtimes")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if chosen.smoke:
        with tempfile.TemporaryDirectory() as folder:
            truths = sample_protocol(folder)
            files = sorted(str(p) for p in Path(folder).rglob("original.jpg"))
            for name, part in PARTS.items():
                say(f"\n== {name}")
                part(Job(files, truths, quick=True))
        return
    if chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    truths = protocols(chosen.data)
    truths.pop("grocery unseen")
    files = sorted(str(p) for p in (chosen.data / "clothing").rglob("*.jpg"))[::5]
    found = PARTS[chosen.part](Job(files, truths, quick=False))
    say(f"written: {save(f'speed-{chosen.part}', {'machine': machine(), **found})}")


if __name__ == "__main__":
    main()
