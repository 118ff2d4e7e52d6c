"""What every loss keeps: finite, masked, float32, in a graph, saved and loaded, and it teaches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cbir.train.losses import LOSSES, make
from tests.train.losses.helpers import (
    CLASSES,
    DIMS,
    VARIANTS,
    Array,
    batch,
    gradients,
    plain,
    variant,
)

PAIRED = [name for name, (loss, _) in VARIANTS.items() if LOSSES[loss].remembers]
WEIGHTED = [name for name in VARIANTS if name not in PAIRED]
SAME = ("softmax smooth", "contrastive slack", "recall-at-k few")
"""Options that change numbers, not what is computed."""
ROWS, LABELS = batch(5, n=8)
AXIS = np.eye(DIMS, dtype=np.float32)
HARD: dict[str, tuple[Any, Any]] = {
    "one image": (ROWS[:1], [2]),
    "two images of one class": (ROWS[:2], [1, 1]),
    "no positive": (ROWS[:4], [0, 1, 2, 3]),
    "no negative": (ROWS, [1] * 8),
    "identical, several classes": (np.ones((8, DIMS)), LABELS),
    "identical, one class": (np.ones((8, DIMS)), [0] * 8),
    "identical pairs": (np.repeat(ROWS[:4], 2, axis=0), [0, 0, 1, 1, 2, 2, 3, 3]),
    "opposite": (np.concatenate((AXIS, -AXIS))[:8], [0, 1, 2, 3, 0, 1, 2, 3]),
    "one zero vector": (np.where(np.arange(8)[:, None] == 3, 0, ROWS), LABELS),
    "all zero": (np.zeros((8, DIMS)), LABELS),
    "very long": (ROWS * 1e6, LABELS),
    "very short": (ROWS * 1e-9, LABELS),
    "padding only": (ROWS, [-1] * 8),
    "padding but one": (ROWS, [2] + [-1] * 7),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in SAME])
def test_hard_batches_give_finite_losses_and_gradients(name: str, case: str) -> None:
    layer = variant(name)
    rows, labels = np.asarray(HARD[case][0], np.float32), np.asarray(HARD[case][1], np.int32)
    loss, found = gradients(layer, rows, labels)
    assert np.isfinite(loss) and loss >= -1e-6
    for gradient in found:
        assert np.isfinite(gradient).all()
    if "zero vector" in case and layer.normalises:
        assert not found[0][3].any()  # without a direction there is none to turn to


@pytest.mark.parametrize("name", WEIGHTED)
def test_where_weights_meet_embeddings_gradients_are_finite(name: str) -> None:
    """Rows that are a proxy, or its opposite: the ends of an angle."""
    layer = variant(name)
    proxies = plain(layer.proxies)[:: layer.centres]
    loss, found = gradients(layer, np.concatenate((proxies, -proxies)), np.arange(8) % 4)
    assert np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in found)


RANDOM = ("triplet distance-weighted",)
"""Its draws depend on the batch's shape, so that it is compared in distribution only."""


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in RANDOM])
def test_padding_does_not_count(name: str) -> None:
    layer, (rows, labels) = variant(name), batch(6, n=9)
    padded = np.concatenate((rows, ROWS[:3]))
    loss, found = gradients(layer, padded, np.concatenate((labels, [-1, -1, -7])))
    expected, theirs = gradients(layer, rows, labels)
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert not found[0][9:].any()
    for mine, its in zip([found[0][:9], *found[1:]], theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in RANDOM])
def test_order_does_not_matter(name: str) -> None:
    layer, (rows, labels) = variant(name), batch(7)
    order = np.random.default_rng(0).permutation(len(rows))
    found = float(layer(rows[order], labels[order]))
    assert found == pytest.approx(float(layer(rows, labels)), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_length_counts_for_raw_embeddings_only(name: str) -> None:
    rows, labels = batch(8)
    lengths = np.random.default_rng(1).uniform(0.1, 30, (len(rows), 1)).astype(np.float32)
    found = float(variant(name)(rows * lengths, labels))
    raw = VARIANTS[name][0] in ("softmax", "n-pair")
    assert (found == pytest.approx(float(variant(name)(rows, labels)), rel=1e-4)) is not raw


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_cast_up(name: str, dtype: str) -> None:
    rows, labels = batch(9)
    half = keras.ops.cast(rows, dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
    found = variant(name)(half, labels)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert tuple(found.shape) == ()
    assert float(found) == pytest.approx(float(variant(name)(exact, labels)), rel=1e-6)


@pytest.mark.parametrize("name", PAIRED)
def test_a_reference_that_is_the_batch_gives_the_loss_of_the_batch(name: str) -> None:
    rows, labels = batch(10)
    found = variant(name)(rows, labels, rows, labels, starts_with_batch=True)
    assert float(found) == pytest.approx(float(variant(name)(rows, labels)), rel=1e-6)


@pytest.mark.parametrize("name", PAIRED)
def test_a_separate_reference_masks_no_pair(name: str) -> None:
    """One anchor; its own copy elsewhere is a positive like any other."""
    layer, (rows, labels) = variant(name), batch(11)
    pairs = layer.pairs(rows[:3], labels[:3], rows, labels)
    same = labels[:3, None] == labels[None]
    np.testing.assert_array_equal(plain(pairs.positives), same)
    np.testing.assert_array_equal(plain(pairs.negatives), ~same)


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_made_again_from_its_settings(name: str) -> None:
    layer, (rows, labels) = variant(name), batch(12)
    text = keras.saving.serialize_keras_object(layer)
    assert text["registered_name"].startswith("cbir>")
    again = keras.saving.deserialize_keras_object(text)
    assert again.get_config() == layer.get_config()
    assert again.built
    assert [v.shape for v in again.weights] == [v.shape for v in layer.weights]
    assert float(again(rows, labels)) == float(layer(rows, labels))


@pytest.mark.parametrize("name", VARIANTS)
def test_seeds_are_all_that_is_random(name: str) -> None:
    rows, labels = batch(13)

    def made(seed: int) -> float:
        loss, options = VARIANTS[name]
        return float(make(loss, CLASSES, DIMS, seed=seed, options=options)(rows, labels))

    assert made(1) == made(1)
    info = LOSSES[VARIANTS[name][0]]
    assert (made(1) != made(2)) is (not info.remembers or name in RANDOM)


class Learner(keras.Model):
    """Linear maps side by side, each with a loss of its own, as a training loop would join them."""

    def __init__(self, names: list[str], policy: str) -> None:
        super().__init__()
        self.names = names
        self.maps = [
            keras.layers.Dense(
                DIMS, dtype=policy, kernel_initializer=keras.initializers.Orthogonal(seed=0)
            )
            for _ in names
        ]
        self.criteria = [variant(name) for name in names]
        self.means = [keras.metrics.Mean(f"of_{i}") for i in range(len(names))]

    def call(self, inputs: Any) -> Any:
        return [one(inputs) for one in self.maps]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        losses = [one(rows, y) for one, rows in zip(self.criteria, y_pred, strict=True)]
        for mean, loss in zip(self.means, losses, strict=True):
            mean.update_state(loss)
        return keras.ops.sum(keras.ops.stack(losses))

    def compute_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {name: mean.result() for name, mean in zip(self.names, self.means, strict=True)}


def toy(n: int) -> tuple[Array, Array]:
    """Four classes in eight dimensions, told apart in two of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % CLASSES
    rows = rng.normal(size=(n, 8))
    rows[:, 0] = 1.5 * np.where(labels % 2, 1, -1) + 0.2 * rng.normal(size=n)
    rows[:, 1] = 1.5 * np.where(labels // 2, 1, -1) + 0.2 * rng.normal(size=n)
    return rows.astype(np.float32), labels.astype(np.int32)


def trained(names: list[str], policy: str, n: int, jit: bool) -> dict[str, list[float]]:
    """The losses of six epochs of `fit` in a graph, in batches of 12."""
    learner = Learner(names, policy)
    learner.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=jit)
    rows, labels = toy(n)
    history = learner.fit(rows, labels, 12, epochs=6, shuffle=False, verbose=0).history
    return {name: [float(loss) for loss in history[name]] for name in names}


@pytest.fixture(scope="module")
def histories() -> dict[str, list[float]]:
    """All losses, each on a map of its own, trained at once: one graph is made for all."""
    return trained([*LOSSES, *RANDOM], "mixed_bfloat16", n=48, jit=False)


@pytest.mark.parametrize("name", [*LOSSES, *RANDOM])
def test_its_loss_falls_in_fit(name: str, histories: dict[str, list[float]]) -> None:
    losses = histories[name]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_it_compiles_and_takes_batches_of_any_size(name: str) -> None:
    losses = trained([name], "float32", n=56, jit=True)[name]
    assert losses[-1] < 0.9 * losses[0]
