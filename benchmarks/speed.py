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
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import machine, protocols, save, say
from common import smoke as sample_protocol
from speed_commands import pipeline, precision, query
from speed_pictures import SIZES, Job, decoder, photos, read, shown
from timing import Contestant, ratio, ratio_text, take_turns

from cbir import Embedder
from cbir.config import EmbedderSpec, RuntimeChoice, using_runtime
from cbir.embed.runtimes.keras_graph import KerasRuntime
from cbir.embed.runtimes.openvino_ir import OpenVinoRuntime, convert
from cbir.images import resize
from cbir.machine import cores
from cbir.types import Pixels

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
