"""LeNet-5 from scratch on MNIST, beside an RBF support vector machine, and as an embedder.

    python benchmarks/mnist.py --data FOLDER       # with mnist.npz in it; some 20 minutes
    python benchmarks/mnist.py --smoke             # seconds: scikit-learn's digits

LeNet learns from 55,000 training images, shifted and resized a little at random; 5,000 others,
drawn at random (files of MNIST may be sorted by digit), choose the epoch. C and gamma of the SVM
are chosen on 5,000 training images against 2,000 others; then it learns from all 60,000. The test
images are used once. Retrieval: 1,000 test images ask for their digit among 10,000 training images.
Writes benchmarks/results/mnist.json.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import machine, save, say
from numpy.typing import NDArray

from cbir.config import IndexSpec
from cbir.embed import Projection, fit
from cbir.evaluate import Query, Truth, summarise
from cbir.evaluate.protocol import rank
from cbir.images.augment import Augmentation
from cbir.train.classifying import accuracy, logits_of
from cbir.train.scratch import Labelled, Lesson, Trained, train
from cbir.train.scratch_recipe import ScratchRecipe

METRICS = ("recall@1", "mAP", "MAP@R")
AUGMENTATION = Augmentation(crop=0.75, ratio=1.1, flip=0.0)
"""Crops of 75 to 100 % of the 32 x 32 picture, scaled up again: shifts and sizes."""
GRID_C, GRID_GAMMA = (1.0, 5.0, 20.0), (0.01, 0.02, 0.04)
REQUIRED = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images uint8 (n, 28, 28) and digits int64 (n,), to learn from and to test on."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is used of what."""

    validation: int
    svm_fit: int
    svm_choice: int
    queries: int
    gallery: int
    epochs: int
    seeds: int


FULL = Sizes(5000, 5000, 2000, 1000, 10_000, 20, 3)
SMOKE = Sizes(200, 500, 200, 200, 800, 20, 1)


class Silent:
    """Nobody watches."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins."""

    def advance(self, steps: int = 1) -> None:
        """Steps are done."""


def read(folder: Path) -> Digits:
    """The official split."""
    with np.load(folder / "mnist.npz", allow_pickle=False) as file:
        return Digits(
            file["x_train"], file["y_train"].astype(np.int64),
            file["x_test"], file["y_test"].astype(np.int64),
        )  # fmt: skip


def small() -> Digits:
    """The 8 x 8 digits of scikit-learn, enlarged; 1,200 to learn from, 597 for tests."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    large = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8).repeat(3, 1).repeat(3, 2)
    padded = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    numbers = labels.astype(np.int64)
    return Digits(padded[:1200], numbers[:1200], padded[1200:], numbers[1200:])


def as_pixels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 28, 28) → (n, 32, 32, 3): a margin of 2, as in the paper, and three equal channels."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(padded[..., None], 3, axis=3)


def lenet(digits: Digits, sizes: Sizes, seed: int) -> Trained:
    """One LeNet-5; a part of the training images chooses the epoch."""
    order = np.random.default_rng(2).permutation(len(digits.train))
    asked, learnt = np.split(order, [sizes.validation])
    lesson = Lesson(
        Labelled(as_pixels(digits.train[learnt]), digits.train_labels[learnt]),
        Labelled(as_pixels(digits.train[asked]), digits.train_labels[asked]),
        tuple("0123456789"),
    )
    recipe = ScratchRecipe(
        "lenet5", 32, epochs=sizes.epochs, batch=64, learning_rate=2e-3, seed=seed,
        augmentation=AUGMENTATION,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        return train(lesson, recipe, f"{work}/state", Silent())


def support_vectors(digits: Digits, sizes: Sizes) -> dict[str, float]:
    """Test accuracy of an RBF SVM on pixels 0..1, C and gamma chosen on training images alone."""
    from sklearn.svm import SVC

    flat = digits.train.reshape(len(digits.train), -1).astype(np.float32) / 255
    order = np.random.default_rng(0).permutation(len(flat))
    fitted, asked = np.split(order[: sizes.svm_fit + sizes.svm_choice], [sizes.svm_fit])
    chosen = {
        (c, gamma): float(
            SVC(C=c, gamma=gamma, cache_size=1000)
            .fit(flat[fitted], digits.train_labels[fitted])
            .score(flat[asked], digits.train_labels[asked])
        )
        for c, gamma in itertools.product(GRID_C, GRID_GAMMA)
    }
    c, gamma = max(chosen, key=lambda key: chosen[key])
    start = time.perf_counter()
    machine_ = SVC(C=c, gamma=gamma, cache_size=2000).fit(flat, digits.train_labels)
    test = digits.test.reshape(len(digits.test), -1).astype(np.float32) / 255
    found = float(machine_.score(test, digits.test_labels))
    return {"accuracy": found, "C": c, "gamma": gamma, "seconds": time.perf_counter() - start}


def protocol(digits: Digits, sizes: Sizes) -> tuple[Truth, NDArray[np.int64], NDArray[np.int64]]:
    """Test images ask for training images of the same digit; the rows of both."""
    rng = np.random.default_rng(1)
    asked = np.sort(rng.permutation(len(digits.test))[: sizes.queries])
    held = np.sort(rng.permutation(len(digits.train))[: sizes.gallery])
    labels = digits.train_labels[held]
    queries = tuple(
        Query(i, np.flatnonzero(labels == digits.test_labels[row]), np.empty(0, np.int64))
        for i, row in enumerate(asked.tolist())
    )
    names = [f"test-{row}" for row in asked] + [f"train-{row}" for row in held]
    words = [str(n) for n in digits.test_labels[asked]] + [str(n) for n in labels]
    gallery = np.arange(len(asked), len(names))
    return Truth("MNIST, test → train", tuple(names), tuple(words), gallery, queries), asked, held


def retrieval(digits: Digits, sizes: Sizes, trained: Trained) -> dict[str, dict[str, float]]:
    """System → metrics: raw pixels, and LeNet's F6 features, each as they are and projected."""
    truth, asked, held = protocol(digits, sizes)
    embedder = trained.embedder()
    pairs = {
        "pixels": (digits.test[asked].reshape(len(asked), -1).astype(np.float32),
                   digits.train[held].reshape(len(held), -1).astype(np.float32)),
        "LeNet-5 F6": (embedder.features(as_pixels(digits.test[asked])),
                       embedder.features(as_pixels(digits.train[held]))),
    }  # fmt: skip
    found = {}
    for name, (queries, gallery) in pairs.items():
        dims = IndexSpec().dims
        for kind, projection in (("raw", Projection.none(gallery.shape[1])),
                                 ("pca", fit(gallery, dims))):  # fmt: skip
            answers = rank(truth, projection.apply(queries), projection.apply(gallery), name)
            metrics = summarise(answers).metrics
            found[f"{name}, {kind}"] = {metric: float(metrics[metric]) for metric in METRICS}
    return found


def main() -> None:
    """Train, test, print, check."""
    parser = argparse.ArgumentParser(description="LeNet-5 and an SVM on MNIST")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    digits = small() if chosen.smoke else read(chosen.data)
    sizes = SMOKE if chosen.smoke else FULL
    runs, best = [], None
    for seed in range(sizes.seeds):
        trained = lenet(digits, sizes, seed)
        found = accuracy(logits_of(trained.model, as_pixels(digits.test)), digits.test_labels)
        runs.append({"seed": seed, "accuracy": found, "seconds": trained.seconds,
                     "best_epoch": trained.progress.best + 1,
                     "validation": trained.progress.best_score})  # fmt: skip
        say(f"LeNet-5, seed {seed}: test accuracy {found:.4f}, {trained.seconds:.0f} s")
        best = best or trained
    assert best is not None
    scores = np.array([run["accuracy"] for run in runs])
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    say(f"LeNet-5: mean {scores.mean():.4f}, standard deviation {spread:.4f}")
    found_rows = retrieval(digits, sizes, best)
    say("\n| | " + " | ".join(METRICS) + " |\n|---|" + "---|" * len(METRICS))
    for name, row in found_rows.items():
        say(f"| {name} | " + " | ".join(f"{row[m]:.3f}" for m in METRICS) + " |")
    svm = support_vectors(digits, sizes)
    say(f"\nRBF SVM (C {svm['C']:g}, gamma {svm['gamma']:g}): test accuracy {svm['accuracy']:.4f}, "
        f"{svm['seconds']:.0f} s")  # fmt: skip
    least = 0.8 if chosen.smoke else REQUIRED
    if scores.mean() < least:
        raise SystemExit(f"expected LeNet-5 at {least} or above; received {scores.mean():.4f}")
    if not chosen.smoke:
        figures = {
            "machine": machine(), "lenet5": runs, "mean": float(scores.mean()), "sd": spread,
            "svm": svm, "retrieval": found_rows, "recipe": best.recipe.to_dict(),
        }  # fmt: skip
        say(f"written: {save('mnist', figures)}")


if __name__ == "__main__":
    main()
