"""The cross-batch memory against a list of what was seen."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from cbir.train.losses import LOSSES, make
from cbir.train.memory import CrossBatchMemory
from tests.train.losses.helpers import CLASSES, DIMS, Array, batch, gradients, plain

REMEMBERING = [name for name, info in LOSSES.items() if info.remembers]


def made(name: str, size: int, **options: Any) -> CrossBatchMemory:
    layer = make(name, CLASSES, DIMS, options=options, memory=size)
    assert isinstance(layer, CrossBatchMemory)
    return layer


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", REMEMBERING)
def test_it_is_the_loss_over_the_batch_and_what_is_remembered(name: str) -> None:
    """Anchors are the batch; references the batch and the last seven rows, newest batch first."""
    layer, alone = made(name, 7), make(name, CLASSES, DIMS)
    past, past_labels = np.zeros((0, DIMS), np.float32), np.zeros(0, np.int32)
    for step in range(4):
        rows, labels = batch(step, n=5)
        reference = np.concatenate((rows, past))
        expected = alone(
            rows, labels, reference, np.concatenate((labels, past_labels)), starts_with_batch=True
        )
        assert float(layer(rows, labels)) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
        kept = rows if name == "n-pair" else unit(rows)
        past = np.concatenate((kept, past))[:7]
        past_labels = np.concatenate((labels, past_labels))[:7]
        filled = len(past)
        np.testing.assert_allclose(plain(layer.remembered)[:filled], past, atol=1e-6)
        assert plain(layer.labels).tolist() == [*past_labels, *[-1] * (7 - filled)]


def test_contrastive_with_a_memory_by_plain_loop() -> None:
    layer = made("contrastive", 20, margin=1.2)
    (old, old_labels), (rows, labels) = batch(1, n=6), batch(2, n=6)
    layer(old, old_labels)
    anchors, references = unit(rows), unit(np.concatenate((rows, old)))
    pulled, pushed = [], []
    for i in range(6):
        for j in range(12):
            apart = float(np.linalg.norm(anchors[i] - references[j]))
            if [*labels, *old_labels][j] != labels[i]:
                pushed += [(1.2 - apart) ** 2] if apart < 1.2 else []
            elif i != j:
                pulled.append(apart**2)
    expected = np.mean(pulled) + np.mean(pushed)
    assert float(layer(rows, labels)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_larger_than_the_memory() -> None:
    layer, (rows, labels) = made("supcon", 3), batch(0, n=8)
    layer(rows, labels)
    np.testing.assert_allclose(plain(layer.remembered), unit(rows)[:3], atol=1e-6)
    assert plain(layer.labels).tolist() == labels[:3].tolist()


def test_an_empty_memory_is_no_memory() -> None:
    rows, labels = batch(3)
    for name in REMEMBERING:
        alone = float(make(name, CLASSES, DIMS)(rows, labels))
        assert float(made(name, 30)(rows, labels)) == pytest.approx(alone, rel=1e-5)


def test_it_begins_when_told() -> None:
    layer, alone = made("supcon", 30, memory_start=2), make("supcon", CLASSES, DIMS)
    differs = []
    for step in range(4):
        rows, labels = batch(step)
        differs.append(abs(float(layer(rows, labels)) - float(alone(rows, labels))) > 1e-3)
    assert differs == [False, False, True, True]
    assert int(layer.steps) == 4


def test_outside_training_nothing_is_remembered_nor_used() -> None:
    layer, alone = made("supcon", 30), make("supcon", CLASSES, DIMS)
    layer(*batch(0))
    before = [plain(v) for v in layer.variables]
    rows, labels = batch(1)
    assert float(layer(rows, labels, training=False)) == float(alone(rows, labels))
    for was, now in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(was, plain(now))


def test_padding_is_remembered_as_nothing() -> None:
    layer, alone = made("nt-xent", 30), made("nt-xent", 30)
    rows, labels = batch(0)
    layer(np.concatenate((rows, rows[:2])), np.concatenate((labels, [-1, -1])))
    alone(rows, labels)
    assert float(layer(*batch(1))) == pytest.approx(float(alone(*batch(1))), rel=1e-6)


@pytest.mark.parametrize("name", REMEMBERING)
def test_gradients_are_finite(name: str) -> None:
    layer = made(name, 12)
    assert layer.trainable_variables == []
    for rows, labels in (batch(0, n=6), (np.zeros((6, DIMS), np.float32), [0] * 6), batch(1, n=6)):
        loss, (gradient,) = gradients(layer, rows, np.asarray(labels, np.int32))
        assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["contrastive", "supcon", "nt-xent"])
def test_the_gradient_flows_through_the_batch_only(name: str) -> None:
    """It is the slope of the loss with what is remembered held still."""
    layer, rows, labels = made(name, 12), *batch(1, n=6)
    layer(*batch(0, n=6))
    state = [plain(v) for v in layer.non_trainable_variables]

    def loss(at: Array) -> float:
        for variable, value in zip(layer.non_trainable_variables, state, strict=True):
            variable.assign(value)
        return float(layer(at.astype(np.float32), labels))

    _, (gradient,) = gradients(layer, rows, labels)
    direction = gradient / np.linalg.norm(gradient)
    slope = (loss(rows + 0.003 * direction) - loss(rows - 0.003 * direction)) / 0.006
    assert slope == pytest.approx(float(np.linalg.norm(gradient)), rel=5e-3)


class Learner(keras.Model):
    """A linear map under a loss with a memory."""

    def __init__(self, criterion: Any) -> None:
        super().__init__()
        self.linear = keras.layers.Dense(DIMS, dtype="mixed_bfloat16")
        self.criterion = criterion

    def call(self, inputs: Any) -> Any:
        return self.linear(inputs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return self.criterion(y_pred, y, training=training)


def learner(name: str, jit: bool = False, **options: Any) -> Learner:
    model = Learner(made(name, 20, **options))
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=jit)
    return model


def data() -> tuple[Array, Array]:
    rows, labels = batch(0, n=40)
    return np.concatenate((rows, rows[:, ::-1]), axis=1), labels


def test_it_fills_and_turns_over_in_fit() -> None:
    keras.utils.set_random_seed(0)
    model, (rows, labels) = learner("supcon"), data()
    history = model.fit(rows, labels, 8, epochs=8, shuffle=False, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[1]  # in the first epoch the memory was not full
    criterion = model.criterion
    assert int(criterion.steps) == 40
    newest = [*labels[32:], *labels[24:32], *labels[16:24]][:20]
    assert plain(criterion.labels).tolist() == newest
    lengths = np.linalg.norm(plain(criterion.remembered), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    model.evaluate(rows, labels, 8, verbose=0)
    assert int(criterion.steps) == 40


def test_memory_and_draws_are_variables_that_a_run_goes_on_from() -> None:
    rows, labels = data()
    first = learner("triplet", mining="distance-weighted")
    first.fit(rows, labels, 8, epochs=1, shuffle=False, verbose=0)
    state = [plain(v) for v in (*first.variables, *first.optimizer.variables)]
    expected = first.fit(rows, labels, 8, epochs=1, shuffle=False, verbose=0).history["loss"]
    again = learner("triplet", mining="distance-weighted")
    again(rows[:8])
    again.optimizer.build(again.trainable_variables)
    targets = [*again.variables, *again.optimizer.variables]
    for variable, value in zip(targets, state, strict=True):
        variable.assign(value)
    found = again.fit(rows, labels, 8, epochs=1, shuffle=False, verbose=0).history["loss"]
    assert found == expected
    assert int(first.criterion.steps) == int(again.criterion.steps) == 10


def test_it_is_made_again_from_its_settings() -> None:
    layer = made("triplet", 20, mining="batch-hard", memory_start=3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert (again.size, again.start, again.inner.mining) == (20, 3, "batch-hard")


@pytest.mark.slow
def test_it_compiles() -> None:
    model, (rows, labels) = learner("triplet", jit=True, mining="distance-weighted"), data()
    history = model.fit(rows, labels, 8, epochs=8, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(history).all() and int(model.criterion.steps) == 40
