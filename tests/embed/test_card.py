"""The model card: there and back, checked, and read by people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cbir.embed import Embedder, ModelCard, read_card
from cbir.embed.card import readme
from cbir.embed.package import CARD, README
from cbir.errors import EmbedderError, UsageError
from tests.embed.conftest import TINY

FIELDS: dict[str, Any] = {
    "title": "Shelves | fine-tuned <b>on</b> 12 classes",
    "base": "efficientnet-lite0 (imagenet, 224 px, squash)",
    "base_fingerprint": "ab" * 16,
    "licence": "Apache-2.0",
    "data": {"source": "shelves", "images": 400, "classes": 12, "near_duplicates": 3},
    "splits": {"train": {"images": 300, "classes": 9}, "validation": {"images": 97, "classes": 3}},
    "recipe": {"loss": "proxy-anchor", "epochs": 7, "seed": 0, "layers": ("head", "last block")},
    "figures": {"validation": {"recall@1": {"before": 0.61, "after": 0.75, "difference": 0.14,
                                            "interval": (0.08, 0.2)}}},
    "seconds": 61.5,
    "versions": {"cbir": "0.1.0", "keras": "3.15"},
    "created": "2026-11-24",
}  # fmt: skip


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(**FIELDS)


def test_there_and_back(card: ModelCard, tiny: Embedder, tmp_path: Path) -> None:
    tiny.save(tmp_path / "e", card)
    assert read_card(str(tmp_path / "e")) == card == ModelCard.from_dict(card.to_dict())
    again = Embedder.load(tmp_path / "e")
    assert again.card == card and again.fingerprint == tiny.fingerprint and tiny.card is None
    again.save(tmp_path / "copy")  # the card goes along
    assert read_card(str(tmp_path / "copy")) == card
    stored = json.loads((tmp_path / "e" / CARD).read_text(encoding="utf-8"))
    assert stored["training"]["recipe"]["layers"] == ["head", "last block"]


def test_one_without_a_card(tiny: Embedder, tmp_path: Path) -> None:
    """As every embedder was before; a README is no part of what is needed."""
    tiny.save(tmp_path / "e")
    assert read_card(str(tmp_path / "e")) is None and Embedder.load(tmp_path / "e").card is None
    assert "## Data" not in (tmp_path / "e" / README).read_text(encoding="utf-8")
    os.remove(tmp_path / "e" / README)
    assert Embedder.load(tmp_path / "e").fingerprint == tiny.fingerprint
    tiny.save(tmp_path / "e")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / README).write_text("mine")
    with pytest.raises(UsageError, match=r"holds README\.md"):
        tiny.save(tmp_path / "own")
    assert (tmp_path / "own" / README).read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("data", {"pictures": 3}, r"data: expected the keys .*also pictures"),
     ("data", [1], "data: expected a mapping"),
     ("splits", {"train": {"photos": 1}}, r"splits\.train: .*also photos"),
     ("splits", {"train": 3}, r"splits\.train: expected a mapping"),
     ("figures", {"train": {"mAP": {"then": 1}}}, r"figures\.train\.mAP: .*also then"),
     ("figures", {"train": {"mAP": 0.5}}, r"figures\.train\.mAP: expected a mapping"),
     ("recipe", {"epochs": 3}, "recipe: expected the key seed"),
     ("recipe", {"seed": 0, "rate": float("nan")}, "JSON can hold"),
     ("recipe", {"seed": 0, "net": object()}, "JSON can hold|pickle"),
     ("versions", {"numpyy": "2"}, "versions: expected the keys"),
     ("title", 3, "title: expected text; received int")],
)  # fmt: skip
def test_other_values_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelCard(**{**FIELDS, name: value})


def test_unknown_keys_are_refused(card: ModelCard, tiny: Embedder, tmp_path: Path) -> None:
    tiny.save(tmp_path / "e", card)
    file = tmp_path / "e" / CARD
    whole = json.loads(file.read_text(encoding="utf-8"))
    for changed in ({**whole, "training": {**whole["training"], "mood": "good"}},
                    {**whole, "training": {"title": "x"}}, {**whole, "training": [1]},
                    {**whole, "mood": "good"}):  # fmt: skip
        file.write_text(json.dumps(changed), encoding="utf-8")
        for load in (Embedder.load, read_card):
            with pytest.raises(EmbedderError, match=r"embedder\.json: "):
                load(str(tmp_path / "e"))


def test_the_readme_has_it_all(card: ModelCard) -> None:
    text = readme(TINY, "cd" * 16, 96, {"cbir": "0.1.0"}, card)
    assert text.startswith("# Shelves \\| fine-tuned &lt;b>on&lt;/b> 12 classes\n")
    for part in ("cd" * 16, "ab" * 16, "96 numbers", "Apache-2.0", "## Split: validation",
                 "| recall@1 | 0.610 | 0.750 | 0.140 | 0.080 to 0.200 |", "| near_duplicates | 3 |",
                 "| layers | head, last block |", "cbir adopt"):  # fmt: skip
        assert part in text
    assert card.headline()["recall@1"]["after"] == 0.75


def test_a_label_that_is_no_unicode_is_written(tiny: Embedder, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    tiny.save(tmp_path / "e", ModelCard(**{**FIELDS, "data": {"labels": [odd]}}))
    found = read_card(str(tmp_path / "e"))
    assert found is not None and found.data["labels"] == [odd]
    assert "| labels | caf? |" in (tmp_path / "e" / README).read_text(encoding="utf-8")
