"""Where own embedders are found, and what is known of them without loading them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbir.embed import Embedder
from cbir.embed.package import CARD
from cbir.embed.shelf import own_embedders, places, read_own
from cbir.errors import EmbedderError, UsageError


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CBIR_EMBEDDERS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert places() == []
    (tmp_path / "embedders").mkdir()
    assert places() == ["embedders"]
    (tmp_path / "a").mkdir()
    both = os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "none")])
    monkeypatch.setenv("CBIR_EMBEDDERS", both)
    assert places() == [str(tmp_path / "a")]
    assert places(["embedders"]) == ["embedders"]
    with pytest.raises(UsageError, match="--in: expected a folder with embedders"):
        places(["nowhere"])


def test_what_is_there(tiny: Embedder, tmp_path: Path) -> None:
    for name in ("b", "a"):
        tiny.save(tmp_path / name)
    (tmp_path / "photos").mkdir()
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / CARD).write_text("{")
    (tmp_path / "worse").mkdir()
    text = (tmp_path / "a" / CARD).read_text().replace('"feature_dims": 96', '"feature_dims": "x"')
    (tmp_path / "worse" / CARD).write_text(text)
    found, failures = own_embedders([str(tmp_path), str(tmp_path / "a")])
    assert [one.name for one in found] == ["a", "b"]
    assert [f.path for f in failures] == [str(tmp_path / name) for name in ("bad", "worse")]
    one = found[0]
    assert (one.fingerprint, one.feature_dims, one.spec) == (tiny.fingerprint, 96, tiny.spec)
    assert one.parameters == tiny.model.count_params() and one.card is None
    with pytest.raises(EmbedderError, match="holds no embedder"):
        read_own(str(tmp_path / "photos"))


def test_a_folder_without_its_model_is_said(tiny: Embedder, tmp_path: Path) -> None:
    tiny.save(tmp_path / "half")
    (tmp_path / "half" / "model.keras").unlink()
    found, failures = own_embedders([str(tmp_path)])
    assert not found and "has no model.keras" in failures[0].reason


def test_one_of_an_older_cbir() -> None:
    sample = Path(__file__).parent.parent / "data" / "embedder-v1"
    one = read_own(str(sample))
    assert one.feature_dims == 32 and one.card is None
