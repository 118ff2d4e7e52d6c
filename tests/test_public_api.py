"""The public names are those that are promised, and each of them works."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import cbir

ROOT = Path(__file__).parent.parent


def test_all_is_sorted_and_every_name_resolves() -> None:
    assert cbir.__all__ == sorted(cbir.__all__)
    for name in cbir.__all__:
        assert getattr(cbir, name) is not None
    assert set(cbir._HOME) == set(cbir.__all__) - {"__version__"}
    assert dir(cbir) == cbir.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cbir.nonsense


@pytest.mark.parametrize(
    "room",
    ["backbones", "catalog", "embed", "evaluate", "images", "index", "lifecycle", "present",
     "query"],
)  # fmt: skip
def test_every_room_says_what_is_public(room: str) -> None:
    module = importlib.import_module(f"cbir.{room}")
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_version_is_the_changelogs_newest() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", text, re.MULTILINE)
    assert newest is not None and newest[1] == cbir.__version__


def test_every_error_has_its_exit_code() -> None:
    from cbir import errors

    codes = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.CbirError)
    }
    assert codes == {
        "CbirError": 5, "UsageError": 2, "IndexMissingError": 3, "IndexIncompatibleError": 3,
        "IndexLockedError": 5, "IndexDamagedError": 5, "ImageError": 5, "EmbedderError": 5,
        "WeightsError": 5, "OperationFailedError": 5,
    }  # fmt: skip
