"""Settings: round trips, unknown keys, values that do not fit."""

from __future__ import annotations

import json

import pytest

from cbir.config import (
    EmbedderSpec,
    IndexSpec,
    QuerySpec,
    RuntimeChoice,
    Settings,
    runtime_choice,
    using_runtime,
)
from cbir.errors import UsageError

MADE: list[Settings] = [
    EmbedderSpec(),
    EmbedderSpec("resnet50", "random:3", "conv4_block6_out", "gap", 160, "pad"),
    IndexSpec(),
    IndexSpec(dims=64, projection="none", seed=4),
    IndexSpec(kind="hnsw", recall=0.9, memory=1 << 30, latency_ms=5),
    QuerySpec(),
    QuerySpec(3, 0.5, ("split=a,b", "path~x"), keep_self=True),
]


@pytest.mark.parametrize("settings", MADE, ids=repr)
def test_round_trip(settings: Settings) -> None:
    again = type(settings).from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == settings and again.canonical() == settings.canonical()
    assert json.loads(settings.canonical()) == json.loads(json.dumps(settings.to_dict()))


def test_specs_of_before_there_were_kinds_stay_the_same() -> None:
    old = {"dims": 256, "kind": "flat", "projection": "pca", "seed": 0}
    assert IndexSpec.from_dict(old).to_dict() == old and IndexSpec().kind == "auto"


@pytest.mark.parametrize("kind", [EmbedderSpec, IndexSpec, QuerySpec])
def test_unknown_keys_are_refused(kind: type[Settings]) -> None:
    with pytest.raises(UsageError, match="received also colour"):
        kind.from_dict({"colour": 1})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (EmbedderSpec, {"resize": "stretch"}),
        (EmbedderSpec, {"input_size": 4}),
        (IndexSpec, {"dims": 0}),
        (IndexSpec, {"projection": "magic"}),
        (IndexSpec, {"kind": "tree"}),
        (IndexSpec, {"recall": 0}),
        (IndexSpec, {"recall": 1.1}),
        (IndexSpec, {"memory": 0}),
        (IndexSpec, {"latency_ms": 0}),
        (QuerySpec, {"k": 0}),
        (QuerySpec, {"min_score": 1.5}),
    ],
)
def test_values_that_do_not_fit_say_what_was_expected(kind: type[Settings], values: dict) -> None:
    with pytest.raises(UsageError, match="expected .* received"):
        kind.from_dict(values)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"runtime": "torch"}, "runtime: expected one of auto, keras, openvino"),
        ({"device": "tpu"}, "device: expected auto, cpu, gpu or gpu:N"),
        ({"device": "gpu:x"}, "device: expected auto, cpu, gpu or gpu:N"),
        ({"device": "cpu:0"}, "device: expected auto, cpu, gpu or gpu:N"),
        ({"runtime": "openvino", "device": "gpu:0"}, "computes on the processor"),
    ],
)
def test_runtimes_that_are_not_there(named: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RuntimeChoice.from_dict(named)


def test_the_nearest_choice_of_a_runtime_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBIR_RUNTIME", "")
    monkeypatch.delenv("CBIR_DEVICE", raising=False)
    assert runtime_choice() == RuntimeChoice("auto", "auto")
    monkeypatch.setenv("CBIR_RUNTIME", "keras")
    monkeypatch.setenv("CBIR_DEVICE", "gpu:1")
    assert runtime_choice() == RuntimeChoice("keras", "gpu:1")
    with using_runtime(RuntimeChoice("openvino")):
        assert runtime_choice() == RuntimeChoice("openvino", "auto")
        with pytest.raises(ValueError), using_runtime(RuntimeChoice(device="cpu")):
            assert runtime_choice() == RuntimeChoice("auto", "cpu")
            raise ValueError
        assert runtime_choice() == RuntimeChoice("openvino", "auto")
    monkeypatch.setenv("CBIR_RUNTIME", "fast")
    with pytest.raises(UsageError, match="runtime: expected one of"):
        runtime_choice()
