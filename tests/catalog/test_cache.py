"""The feature cache: by embedder and content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbir.catalog import FeatureCache, default_cache
from cbir.errors import OperationFailedError


def test_round_trip_by_embedder_and_content(tmp_path: Path) -> None:
    file = str(tmp_path / "new" / "cache.sqlite")
    rows = {bytes([i]): np.full(3, i, np.float32) for i in range(5)}
    with FeatureCache(file) as cache:
        cache.put("one", rows)
        cache.put("other", {b"\0": np.full(3, 9, np.float32)})
    with FeatureCache(file) as cache:
        found = cache.get("one", [bytes([i]) for i in range(9)], 3)
        assert set(found) == set(rows)
        assert all(np.array_equal(found[key], rows[key]) for key in rows)
        assert cache.get("other", [b"\0", b"\1"], 3)[b"\0"].tolist() == [9, 9, 9]
        assert cache.get("third", [b"\0"], 3) == {} and cache.get("one", [], 3) == {}


def test_another_version_is_made_anew(tmp_path: Path) -> None:
    file = str(tmp_path / "cache.sqlite")
    with FeatureCache(file) as cache:
        cache.put("one", {b"x": np.ones(2, np.float32)})
        cache.db.execute("PRAGMA user_version = 99")
    with FeatureCache(file) as cache:
        assert cache.get("one", [b"x"], 2) == {}


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CBIR_CACHE", "here.sqlite")
    assert default_cache() == "here.sqlite"
    monkeypatch.delenv("CBIR_CACHE")
    assert default_cache().endswith("features.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailedError, match="CBIR_CACHE"):
        FeatureCache(str(tmp_path / "file" / "cache.sqlite"))


def test_what_was_learnt_is_kept_by_its_key(tmp_path: Path) -> None:
    file = str(tmp_path / "cache.sqlite")
    with FeatureCache(file) as cache:
        assert cache.get_fit("a") is None
        cache.put_fit("a", b"one")
        cache.put_fit("b", b"")
        cache.put_fit("a", b"two")
    with FeatureCache(file) as cache:
        assert cache.get_fit("a") == b"two" and cache.get_fit("b") == b""


def test_a_file_from_before_fits_keeps_its_features(tmp_path: Path) -> None:
    file = str(tmp_path / "cache.sqlite")
    with FeatureCache(file) as cache:
        cache.put("one", {b"x": np.ones(2, np.float32)})
        cache.db.execute("DROP TABLE fits")
    with FeatureCache(file) as cache:
        assert cache.get("one", [b"x"], 2)[b"x"].tolist() == [1, 1]
        cache.put_fit("a", b"one")
        assert cache.get_fit("a") == b"one"


def test_which_contents_are_there(tmp_path: Path) -> None:
    with FeatureCache(str(tmp_path / "c.sqlite")) as cache:
        assert cache.contents("a") == frozenset()
        cache.put("a", {b"1" * 16: np.ones(4, np.float32), b"2" * 16: np.ones(4, np.float32)})
        assert cache.contents("a") == {b"1" * 16, b"2" * 16} and cache.contents("b") == frozenset()
