"""Which layers each plan lets learn."""

from __future__ import annotations

import pytest

from cbir.backbones.nested import flat_layers
from cbir.embed import Embedder
from cbir.errors import UsageError
from cbir.train.freezing import check_layers, check_plan, freeze, stages
from cbir.train.network import ANY, own_copy


def learning(embedder: Embedder) -> set[str]:
    layers = flat_layers(embedder.model)
    return {layer.name for layer in layers if layer.trainable and layer.weights}


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("head", set()),
        ("last", {"conv2"}),
        ("blocks:2", {"conv1", "conv2"}),
        ("blocks:9", {"conv1", "conv2"}),
        ("all", {"conv1", "conv2"}),
        ("share:0.4", {"conv2"}),
        ("from:norm1", {"conv2"}),
        ("conv1", {"conv1"}),
        ("*", {"conv1", "conv2"}),
    ],
)
def test_plans(tiny: Embedder, plan: str, expected: set[str]) -> None:
    freeze(tiny.model, "all", train_norms=True)
    found = freeze(tiny.model, plan)
    assert learning(tiny) == expected
    assert found == (len(expected), 3)
    names = {v.path.split("/")[-2] for v in tiny.model.trainable_variables}
    assert names == expected


def test_norms_learn_where_that_is_asked(tiny: Embedder) -> None:
    assert freeze(tiny.model, "all", train_norms=True) == (3, 3)
    assert "norm1" in learning(tiny)


def test_stages_are_runs_of_one_size(tiny: Embedder) -> None:
    runs = [[layer.name for layer in run] for run in stages(flat_layers(tiny.model))]
    assert [run[0] for run in runs[-2:]] == ["conv1", "conv2"]
    assert runs[-1] == ["conv2", "relu2", "gap"]


def test_gates_and_paddings_are_no_stages() -> None:
    import keras
    from keras import layers

    entry = keras.Input((16, 16, 3))
    x = entry
    for stage in range(2):
        for block in range(2):
            name = f"s{stage}b{block}"
            x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
            x = layers.Conv2D(4, 3, 2 if not block else 1, name=f"{name}_conv")(x)
            gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
            gate = layers.Conv2D(4, 1, activation="sigmoid", name=f"{name}_gate")(gate)
            x = layers.Multiply(name=f"{name}_out")([x, gate])
    model = keras.Model(entry, layers.GlobalAveragePooling2D()(x))
    runs = [{layer.name[:2] for layer in run if layer.weights} for run in stages(model.layers)]
    assert runs == [set(), {"s0"}, {"s1"}]
    assert freeze(model, "last") == (4, 8)


def test_a_pooling_at_the_end_is_no_block() -> None:
    import keras
    from keras import layers

    entry = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(entry)
    x = layers.Conv2D(4, 3, padding="same", name="second")(layers.MaxPooling2D()(x))
    model = keras.Model(entry, layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x)))
    assert freeze(model, "last") == (1, 2)
    assert model.get_layer("second").trainable and not model.get_layer("first").trainable


def test_a_network_for_any_size_is_frozen_like_the_one_with_sizes(tiny: Embedder) -> None:
    free = own_copy(tiny.model, ANY)
    assert freeze(free, "last", sized=tiny.model) == (1, 3)
    assert {v.path.split("/")[-2] for v in free.trainable_variables} == {"conv2"}
    with pytest.raises(ValueError, match="pictures of one size; received any"):
        freeze(free, "last")


@pytest.mark.parametrize("plan", ["", "blocks:0", "blocks:x", "share:0", "share:2", "from:", "a:b"])
def test_what_is_no_plan_is_refused(plan: str) -> None:
    with pytest.raises(UsageError, match="layers: expected head, last"):
        check_plan(plan)


@pytest.mark.parametrize("plan", ["from:conv9", "block6*"])
def test_a_layer_that_is_not_there_is_refused(tiny: Embedder, plan: str) -> None:
    with pytest.raises(UsageError, match="layers: expected"):
        freeze(tiny.model, plan)


def test_layers_are_checked_without_a_change(tiny: Embedder) -> None:
    before = [layer.trainable for layer in flat_layers(tiny.model)]
    for plan in ("all", "last", "head", "conv*", "from:conv2"):
        check_layers(tiny.model, plan)
    with pytest.raises(UsageError, match="leaves no layer of the network to learn"):
        check_layers(tiny.model, "norm1")
    check_layers(tiny.model, "norm1", train_norms=True)
    with pytest.raises(UsageError, match="fits no layer"):
        check_layers(tiny.model, "block9*")
    assert [layer.trainable for layer in flat_layers(tiny.model)] == before
