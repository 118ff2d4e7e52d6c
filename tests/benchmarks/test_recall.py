"""The results table's own checks can fail; its file has what the table shows, and no host."""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cbir.evaluate import CLASSICAL, Summary
from cbir.evaluate.ground_truth import Query, Truth

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def recall(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("recall")
    for name in ("recall", "common"):
        sys.modules.pop(name, None)


def truth() -> Truth:
    """One query, ten images, one of them relevant: chance has an mAP of .29."""
    places = np.arange(10, dtype=np.int64)
    return Truth("t", ("",) * 11, ("",) * 11, places, (Query(10, places[:1], places[:0]),))


def rows(**quality: float) -> dict[str, Summary]:
    def made(value: float) -> Summary:
        metrics = dict.fromkeys(("recall@1", "recall@5", "recall@10", "mAP", "MAP@R"), value)
        return Summary(1, 0, 10, metrics, dict.fromkeys(metrics, (value, value)))

    named = {"classical/colour, raw": 0.4, "efficientnet-lite0, raw": 0.6,
             "efficientnet-lite0, pca 256": 0.7}  # fmt: skip
    return {name: made(quality.get(name, value)) for name, value in named.items()}


def test_what_is_not_as_it_must_be_is_said(recall: ModuleType) -> None:
    assert recall.faults("t", truth(), rows()) == []
    worse = rows(**{"classical/colour, raw": 0.2})
    assert "above chance" in recall.faults("t", truth(), worse)[0]
    better = rows(**{"classical/colour, raw": 0.65})
    assert "every CNN above" in recall.faults("t", truth(), better)[0]
    (port,) = recall.faults("clothing", truth(), rows())
    assert "port of the network is not right" in port
    recall.KNOWN["t"] = (0.6, 0.605)
    assert recall.faults("t", truth(), rows()) == []


def test_the_table_begins_with_chance_and_ends_with_the_best(recall: ModuleType) -> None:
    lines = recall.table(truth(), rows()).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["chance", *rows()]
    assert "| .700 (.700 to .700) |" in lines[-1] and lines[2].count("|") == 7
    found = recall.as_json(truth(), rows())
    assert found["chance"]["recall@1"] == pytest.approx(0.1) and len(found["systems"]) == 3


def test_every_classical_descriptor_has_a_row(recall: ModuleType) -> None:
    assert set(CLASSICAL) <= set(recall.SYSTEMS)


def test_the_results_file_has_no_host_and_the_known_figures(recall: ModuleType) -> None:
    text = (FOLDER / "results" / "recall.json").read_text(encoding="utf-8")
    assert platform.node() not in text and "/" not in text.replace("classical/", "")
    stored = json.loads(text)["protocols"]
    for protocol, (first, mean) in recall.KNOWN.items():
        metrics = stored[protocol]["systems"]["efficientnet-lite0, raw"]["metrics"]
        assert abs(metrics["recall@1"] - first) <= 0.01 and abs(metrics["mAP"] - mean) <= 0.01
