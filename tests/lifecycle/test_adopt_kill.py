"""`adopt` killed at any point: the live answers are as before, and a second run finishes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cbir
from cbir.index import derived_files
from tests.lifecycle.galleries import CellEmbedder, answers, back, classes, live, moved
from tests.lifecycle.helpers import faults, run

ROOT = Path(cbir.__file__).parent.parent
FAST = ["embedding 8", "swap", "swapped"]
SLOW = [
    "comparing 50",
    "calibrating",
    "embedding",
    "embedding 40",
    "deriving",
    "comparing",
    "calibrating 60",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    classes(folder / "photos")
    run(folder / "index", folder / "photos", grid=CellEmbedder(1))
    return folder


def killed(index: Path, point: str) -> None:
    """Run it, and see that it ended by the signal."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lifecycle.killed_adopt", str(index), point],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "point", [*FAST, *(pytest.param(point, marks=pytest.mark.slow) for point in SLOW)]
)
def test_nothing_is_lost(point: str, template: Path, tmp_path: Path) -> None:
    index, photos = tmp_path / "index", template / "photos"
    shutil.copytree(template / "index", index)
    old, new = CellEmbedder(1), CellEmbedder(4)
    before, state = answers(index, photos, old), live(index)
    killed(index, point)
    if point == "swapped":
        assert live(index)[0] == new.fingerprint
        assert moved(index, new, old).already
    else:
        assert live(index) == state and answers(index, photos, old) == before
        assert [k for k in faults(index) if k != "FAISS file stale"] == []
        report = moved(index, new, old)
        stored = {"embedding": 0, "embedding 8": 8, "embedding 40": 40}.get(point, 48)
        assert report.swapped and report.embedded == 48 - stored
    adopted = answers(index, photos, new)
    assert faults(index) == [] and len(derived_files(str(index))) == 2
    back(index)
    assert answers(index, photos, old) == before
    back(index)
    assert answers(index, photos, new) == adopted
