"""The table of losses, and making one by name."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from cbir.errors import UsageError
from cbir.train.losses import LOSSES, checked, find, make


def test_the_table_costs_no_keras() -> None:
    script = (
        "import sys, cbir.train.losses as l; l.checked('triplet', {'margin': '.3'}, 100)\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", LOSSES)
def test_the_table_and_the_layers_agree(name: str) -> None:
    info = LOSSES[name]
    layer = make(name, 3, 4)
    assert type(layer).__name__ == info.class_name
    assert type(layer).__module__ == info.module
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    defaults = {
        p.name: p.default
        for p in parameters
        if p.default is not inspect.Parameter.empty and p.name != "seed"
    }
    assert defaults == info.defaults()
    assert set(defaults) == set(layer.options) - {"seed"}
    assert {key: getattr(layer, key) for key in defaults} == defaults
    assert bool(layer.trainable_variables) is not info.remembers
    for option in info.options:
        assert option.choices or option.low <= float(option.default) <= option.high
        assert option.name in (type(layer).__doc__ or ""), (
            "an option that the layer does not explain"
        )


@pytest.mark.parametrize("name", LOSSES)
def test_every_end_of_every_range_works(name: str) -> None:
    import numpy as np

    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for option in LOSSES[name].options:
        low = option.low + 0.05 if option.open_low else option.low
        high = option.high if option.high < 1e9 else 3
        for value in option.choices or (low, high):
            layer = make(name, 3, 4, options={option.name: value})
            assert np.isfinite(float(layer(rows, np.arange(6) % 3))), (option.name, value)


def test_names_are_read_kindly() -> None:
    assert find(" Proxy_Anchor ").name == "proxy-anchor"
    assert find("ProxyNCA++".replace("yN", "y-N")).name == "proxy-nca++"


@pytest.mark.parametrize(
    ("name", "options", "memory", "words"),
    [
        ("proxy-ancor", {}, 0, ["one of softmax", "'proxy-ancor'", "Perhaps proxy-anchor"]),
        ("xyz", {}, 0, ["'xyz'", "Choose one of those"]),
        ("circle", {"gama": 3}, 0, ["expected one of margin, gamma", "'gama'", "Perhaps gamma"]),
        ("circle", {"margin": 1.5}, 0, ["margin: expected 0 to 1", "1.5", "default is 0.4"]),
        ("circle", {"gamma": 0}, 0, ["gamma: expected above 0", "received 0"]),
        ("circle", {"gamma": "wide"}, 0, ["'wide'"]),
        ("circle", {"gamma": float("nan")}, 0, ["nan"]),
        ("circle", {"gamma": float("inf")}, 0, ["inf"]),
        ("soft-triple", {"per_class": 2.5}, 0, ["whole numbers, 1 to 100", "2.5"]),
        ("triplet", {"mining": "hardest"}, 0, ["semi-hard, batch-hard", "'hardest'"]),
        ("triplet", {"mining": 3}, 0, ["received 3"]),
        ("proxy-anchor", {}, 10, ["expected 0 for proxy-anchor", "10", "one: contrastive"]),
        ("softmax", {}, 10, ["expected 0 for softmax"]),
        ("contrastive", {}, -1, ["expected 0 to 65536", "-1"]),
        ("smooth-ap", {}, 513, ["expected 0 to 512", "square", "513"]),
        ("triplet", {"mining": "all"}, 1000, ["expected 0 to 512"]),
        ("contrastive", {"memory_start": 5}, 0, ["'memory_start'", "needs a memory above 0"]),
        ("softmax", {"memory_start": 5}, 0, ["'memory_start'", "Leave it out"]),
        ("contrastive", {"memory_start": -1}, 9, ["at least 0"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    name: str, options: dict[str, Any], memory: int, words: list[str]
) -> None:
    with pytest.raises(UsageError) as error:
        checked(name, options, memory)
    for word in words:
        assert word in str(error.value)


def test_options_may_be_text_and_the_rest_is_filled_in() -> None:
    assert checked("soft-triple", {"per-class": "3", "tau": "0"}) == {
        "per_class": 3, "scale": 20.0, "gamma": 0.1, "margin": 0.01, "tau": 0.0,
    }  # fmt: skip
    assert checked("triplet", {"mining": "batch-hard"}, 4000)["memory_start"] == 0


@pytest.mark.parametrize(("classes", "dims", "word"), [(0, 4, "classes"), (2, 0, "dims")])
def test_sizes_are_at_least_one(classes: int, dims: int, word: str) -> None:
    with pytest.raises(UsageError, match=f"{word}: expected at least 1; received 0"):
        make("softmax", classes, dims)
