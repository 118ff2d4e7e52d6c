"""Networks that may be compiled, and a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cbir.config import RuntimeChoice, using_runtime

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of compiled networks, empty."""
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache" / "features.sqlite"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture
def compiling(cache: Path) -> Iterator[Path]:
    """Embedders that are loaded within are compiled."""
    with using_runtime(RuntimeChoice("openvino")):
        yield cache
