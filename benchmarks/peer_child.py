"""A peer package at work, in its own Python environment: the child process of peer_packages.py.

    python -I benchmarks/peer_child.py PACKAGE MODEL

Needs nothing of cbir. It imports the package, builds the model with random weights, and says so in
a line of JSON. Then each line of standard input, {"folder": ..., "workers": ...}, has that folder
of pictures indexed once, and is answered by a line: seconds by the clock and of computing, of the
package's own call alone, and how many features there are afterwards. What was patched from outside
is in `Peer.patched`; the packages' files are as they were installed.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("imagededup", "pupyl", "DeepImageSearch", "torch", "torchvision", "timm", "tensorflow",
            "keras", "annoy", "faiss-cpu", "numpy", "pillow")  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """A package with its model built.

    prepare  makes ready for one run on a folder, with so many worker processes, untimed, and gives
             what is timed: a call that returns how many features there are
    patched  what is not as users of the package have it
    """

    prepare: Callable[[str, int, str], Callable[[], int]]
    patched: str


def imagededup(model: str) -> Callable[[], Peer]:
    """`CNN(model_config=...).encode_images(folder)`: features in memory, by file name."""
    torch, torchvision = import_module("torch"), import_module("torchvision")
    methods, models = import_module("imagededup.methods"), import_module("imagededup.utils.models")

    def build() -> Peer:
        torch.manual_seed(0)
        network = getattr(torchvision.models, model)(weights=None)
        features = torch.nn.Sequential(network.features, network.avgpool, torch.nn.Flatten())
        own = models.CustomModel(name=model, model=features.eval(),
                                 transform=models.MobilenetV3.transform)  # fmt: skip
        encoder = methods.CNN(verbose=False, model_config=own)

        def prepare(folder: str, workers: int, _: str) -> Callable[[], int]:
            return lambda: len(encoder.encode_images(image_dir=folder, num_enc_workers=workers))

        return Peer(prepare, "nothing: a network with random weights is given as model_config, cut "
                    "where the package cuts its default, with the package's transform")  # fmt: skip

    return build


def pupyl(model: str) -> Callable[[], Peer]:
    """`PupylImageSearch(data_dir).index(folder)`: copies, features and an Annoy index on disk."""
    applications = import_module("keras.applications")
    search = import_module("pupyl.search")

    def build() -> Peer:
        network = applications.mobilenet.MobileNet(
            weights=None, pooling="max", include_top=False, input_shape=(224, 224, 3)
        )
        spread(network)

        def prepared(**asked: Any) -> Any:
            expected = {"weights": "imagenet", "pooling": "max", "include_top": False,
                        "input_shape": (224, 224, 3)}  # fmt: skip
            assert asked == expected, asked
            return network

        applications.mobilenet.MobileNet = prepared

        def prepare(folder: str, _: int, scratch: str) -> Callable[[], int]:
            engine = search.PupylImageSearch(data_dir=scratch)

            def work() -> int:
                engine.index(folder)
                return len(engine.indexer)

            return work

        return Peer(prepare, "keras.applications.mobilenet.MobileNet gives one prepared network "
                    "with random weights, large enough for features of usual size, instead of "
                    "fetching ImageNet's")  # fmt: skip

    assert model == "mobilenet", model
    return build


def spread(network: Any) -> None:
    """Draw a Keras network's kernels anew, as large as keeps what goes through it of one size.

    As Keras initialises MobileNet its features come out at 1e-19.
    """
    rng = import_module("numpy").random.default_rng(0)
    for layer in network.layers:
        arrays = layer.get_weights()
        if arrays and arrays[0].ndim == 4:
            shape = arrays[0].shape
            seen = math.prod(shape[:2] if "Depthwise" in type(layer).__name__ else shape[:3])
            arrays[0] = rng.normal(0, math.sqrt(2 / seen), shape)
            layer.set_weights(arrays)


def deep_image_search(model: str) -> Callable[[], Peer]:
    """`SearchEngine(model).index(folder)`: features, a flat FAISS index and records on disk."""
    timm: Any = import_module("timm")
    torch = import_module("torch")
    engines = import_module("DeepImageSearch")

    def build() -> Peer:
        torch.manual_seed(0)
        network = timm.create_model(model, pretrained=False).eval()

        def prepared(name: str, pretrained: bool = False) -> Any:
            assert name == model, name
            return network

        timm.create_model = prepared

        def prepare(folder: str, _: int, scratch: str) -> Callable[[], int]:
            engine = engines.SearchEngine(model_name=model, index_dir=scratch)

            def work() -> int:
                engine.index(folder)
                return int(engine.count)

            return work

        return Peer(prepare, "timm.create_model gives one prepared network with random weights, "
                    "instead of fetching trained ones")  # fmt: skip

    return build


PEERS = {"imagededup": imagededup, "pupyl": pupyl, "DeepImageSearch": deep_image_search}


def computing() -> float:
    """Seconds of computing of this process, and of the worker processes that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def run(peer: Peer, folder: str, workers: int) -> dict[str, float]:
    """Once: what it took, and how many features there are."""
    with tempfile.TemporaryDirectory() as scratch:
        work = peer.prepare(folder, workers, scratch)
        wall, cpu = time.perf_counter(), computing()
        count = work()
        return {"wall": time.perf_counter() - wall, "cpu": computing() - cpu, "features": count}


def versions() -> dict[str, str]:
    """Of what is installed here and matters."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Build, then answer line by line."""
    answers = os.fdopen(os.dup(1), "w")  # packages print their progress: that goes elsewhere
    os.dup2(2, 1)

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    package, model = sys.argv[1:]
    start = time.perf_counter()
    build = PEERS[package](model)
    imported = time.perf_counter()
    peer = build()
    built = time.perf_counter()
    answer({"import_s": round(imported - start, 2), "build_s": round(built - imported, 2),
            "patched": peer.patched, "versions": versions()})  # fmt: skip
    for line in sys.stdin:
        asked = json.loads(line)
        answer(run(peer, asked["folder"], asked["workers"]))


if __name__ == "__main__":
    main()
