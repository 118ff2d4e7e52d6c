"""Make the samples of the present formats: run once for each format version, then commit them.

python -m tests.data.make_samples
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cbir import Embedder, EmbedderSpec
from cbir.catalog import FORMAT_VERSION, CatalogWriter
from cbir.config import IndexSpec
from cbir.embed.package import VERSION
from cbir.evaluate import ColourHistogram, SelfOptions, self_queries
from cbir.evaluate.answers import FORMAT as ANSWERS
from cbir.evaluate.gallery import of_files
from cbir.evaluate.ground_truth import from_labels
from cbir.evaluate.protocol import rank
from cbir.evaluate.self_answers import FORMAT as SELF_QUERIES
from cbir.images.edits import EDITS
from cbir.lifecycle import SyncOptions, sync
from cbir.query.match import VERSION as CALIBRATION
from cbir.query.match import Calibration, whiten
from tests.conftest import GridEmbedder, picture

HERE = Path(__file__).parent


def make_index() -> None:
    """Three pictures, one failure, metadata; the root is called /photos, wherever it was."""
    target = HERE / f"index-v{FORMAT_VERSION}"
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for i in range(3):
            picture(i).save(photos / f"{i}.png")
            os.utime(photos / f"{i}.png", (1, 1))
        (photos / "bad.jpg").write_bytes(b"")
        table = photos / "meta.csv"
        table.write_text("path,label\n0.png,hat\n")
        options = SyncOptions(metadata=str(table), spec=IndexSpec(dims=2))
        sync(str(target), [str(photos)], options, embedder=GridEmbedder())
    with CatalogWriter(str(target)) as catalog, catalog.writing():
        catalog.db.execute("UPDATE roots SET path = ?", (b"/photos",))
    with CatalogWriter(str(target)) as catalog:
        catalog.db.execute("VACUUM")
    for name in ("writer.lock", "writer.json", "catalog.sqlite-shm", "catalog.sqlite-wal"):
        (target / name).unlink(missing_ok=True)


def make_embedder() -> None:
    """The first layers of EfficientNet-Lite0 with random weights: 32 numbers a picture."""
    spec = EmbedderSpec("efficientnet-lite0", "random:1", "stem_relu6", input_size=16)
    Embedder.from_spec(spec).save(HERE / f"embedder-v{VERSION}")


def make_answers() -> None:
    """Twelve pictures of three classes, four of them queries of the rest."""
    rng = np.random.default_rng(0)
    labels = [f"class {i % 3}" for i in range(12)]
    vectors = rng.normal(size=(12, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [f"/photos/{i}.png" for i in range(12)]
    truth = from_labels("sample", paths, labels, (range(4), range(4, 12)))
    made = rank(truth, vectors[:4], vectors[4:], "random vectors")
    (HERE / f"answers-v{ANSWERS}.json").write_text(made.to_json() + "\n")


def make_calibration() -> None:
    """What an index stores to make matches of scores: a space of eight dims and three corners."""
    features = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    made = Calibration(
        whiten(features), 0.25, np.array([-0.5, 0.0, 0.5]), np.array([0.01, 0.25, 0.9]), 60,
        {"queries": 150},
    )  # fmt: skip
    (HERE / f"calibration-v{CALIBRATION}.npz").write_bytes(made.to_bytes())


def make_self_queries() -> None:
    """Six pictures, two of them edited in two ways, with a floor."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"{i}.png") for i in range(6)]
        for i, path in enumerate(paths):
            picture(i).save(path)
        spec = IndexSpec(projection="none")
        gallery = of_files("sample", paths, GridEmbedder(), spec)
        floor = of_files("sample", paths, ColourHistogram(), spec)
        edits = {name: EDITS[name] for name in ("flip", "crop-60")}
        made = self_queries(gallery, SelfOptions(2, 0, edits), floor)
    made = replace(made, pictures=replace(made.pictures, root="/photos"))
    (HERE / f"self-queries-v{SELF_QUERIES}.json").write_text(made.to_json() + "\n")


if __name__ == "__main__":
    make_calibration()
    make_self_queries()
    make_answers()
    make_index()
    make_embedder()
