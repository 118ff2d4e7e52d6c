"""What the benchmarks share: protocols on the development sets, machine facts, results files."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cbir
from cbir.evaluate import Truth, from_manifest
from cbir.images import make_sample
from cbir.machine import processor


def protocols(data: Path) -> dict[str, Truth]:
    """Only train and validation splits: `test` is for a final figure."""
    clothing, grocery = (str(data / name / "manifest.csv") for name in ("clothing", "grocery"))
    unseen = "class_split=unseen"
    return {
        "clothing": from_manifest(clothing, ["split=validation"], ["split=train"]),
        "grocery": from_manifest(grocery, ["split=val"], ["split=train"]),
        "grocery unseen": from_manifest(grocery, ["split=val", unseen], ["split=train", unseen]),
    }


def smoke(folder: str) -> dict[str, Truth]:
    """The sample gallery: the originals against all other views."""
    manifest = make_sample(folder).manifest
    return {"sample": from_manifest(manifest, ["view=original"], ["view!=original"])}


def machine() -> dict[str, object]:
    """Where figures were taken: processor, cores, versions."""
    packages = ("numpy", "pillow", "keras", "tensorflow", "tensorflow-cpu", "faiss-cpu",
                "scikit-image", "openvino", "nncf", "torch", "hnswlib", "usearch")  # fmt: skip
    found = {name: _version(name) for name in packages}
    return {
        **processor(),
        "cbir": cbir.__version__,
        "python": platform.python_version(),
        **{name: text for name, text in found.items() if text},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def say(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def save(name: str, results: object) -> Path:
    """Write results beside the benchmarks, as JSON."""
    file = Path(__file__).parent / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return file
