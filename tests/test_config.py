"""Settings: round trips, unknown keys, values that do not fit."""

from __future__ import annotations

import json

import pytest

from cbir.config import EmbedderSpec, IndexSpec, QuerySpec, Settings
from cbir.errors import UsageError

MADE: list[Settings] = [
    EmbedderSpec(),
    EmbedderSpec("resnet50", "random:3", "conv4_block6_out", "gap", 160, "pad"),
    IndexSpec(),
    IndexSpec(dims=64, projection="none", seed=4),
    QuerySpec(),
    QuerySpec(3, 0.5, ("split=a,b", "path~x"), keep_self=True),
]


@pytest.mark.parametrize("settings", MADE, ids=repr)
def test_round_trip(settings: Settings) -> None:
    again = type(settings).from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == settings and again.canonical() == settings.canonical()
    assert json.loads(settings.canonical()) == json.loads(json.dumps(settings.to_dict()))


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
        (IndexSpec, {"kind": "hnsw"}),
        (QuerySpec, {"k": 0}),
        (QuerySpec, {"min_score": 1.5}),
    ],
)
def test_values_that_do_not_fit_say_what_was_expected(kind: type[Settings], values: dict) -> None:
    with pytest.raises(UsageError, match="expected .* received"):
        kind.from_dict(values)
