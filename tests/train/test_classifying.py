"""Cross-entropy against a plain loop; accuracy; batches of one size."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from cbir.backbones import classifier
from cbir.images.augment import NONE
from cbir.train.classifying import accuracy, compiled, cross_entropy, logits_of
from cbir.train.scratch_recipe import ScratchRecipe


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_cross_entropy_is_the_mean_over_pictures(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype(np.float32) * 4
    labels = np.array([0, 2, 1, 1, 0])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        whole = math.log(sum(math.exp(v) for v in row))
        for c, value in enumerate(row):
            target = smoothing / 3 + (1 - smoothing if c == label else 0)
            total -= target * (value - whole)
    found = float(cross_entropy(keras.ops.convert_to_tensor(logits), labels, smoothing))
    assert found == pytest.approx(total / 5, rel=1e-5)


def test_accuracy() -> None:
    logits = np.array([[1, 2], [3, 0], [0, 1]], np.float32)
    assert accuracy(logits, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert math.isnan(accuracy(logits[:0], np.array([], np.int64)))


def test_logits_do_not_depend_on_the_batch() -> None:
    model = classifier("resnet20", 3, 8)
    x = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(logits_of(model, x, 4), np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    assert logits_of(model, x[:0]).shape == (0, 3)


def recipe(**changes: object) -> ScratchRecipe:
    given = {"epochs": 2, "warm": 0.0, "augmentation": NONE, **changes}
    return ScratchRecipe("lenet5", 32, **given)  # type: ignore[arg-type]


def test_losses_of_several_outputs_are_weighted() -> None:
    start = keras.Input((4,))
    outputs = [keras.layers.Dense(3, name=name)(start) for name in ("main", "aux")]
    network = keras.Model(start, outputs)
    learner = compiled(network, [1.0, 0.3], recipe(), 1)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1, 2], np.int32)
    main, aux = (float(cross_entropy(one, y)) for one in network(x))
    found = learner.evaluate(x, y, verbose=0)
    assert found == pytest.approx(main + 0.3 * aux, rel=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_shrinks_kernels_but_not_biases(name: str) -> None:
    """Where the loss does not depend on a layer, only decay moves its weights."""
    start = keras.Input((2,))
    dense = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    network = keras.Model(start, dense(start) * 0.0)
    how = recipe(optimizer=name, decay=0.1, learning_rate=0.5, epochs=1000)
    learner = compiled(network, [1.0], how, 1)
    learner.fit(np.ones((2, 2), np.float32), np.array([0, 1]), batch_size=2, verbose=0)
    kernel, bias = dense.get_weights()
    np.testing.assert_allclose(kernel, 1 - 0.5 * 0.1, rtol=1e-4)
    np.testing.assert_allclose(bias, 1, rtol=1e-6)
