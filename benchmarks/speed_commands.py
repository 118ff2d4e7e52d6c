"""Speed of what users call: `cbir index` against its parts, queries cold and warm, precisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np
from common import say
from PIL import Image
from speed_pictures import Job, decoder, photos, read, shown
from timing import Contestant, take_turns

from cbir import Embedder, Index
from cbir.config import IndexSpec, RuntimeChoice, using_runtime
from cbir.evaluate.metrics import paired_difference
from cbir.evaluate.precisions import choose_precision, material, measure_precisions
from cbir.evaluate.protocol import per_query, summarise
from cbir.evaluate.run import answered, truth_features
from cbir.images import resize
from cbir.machine import cores


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
