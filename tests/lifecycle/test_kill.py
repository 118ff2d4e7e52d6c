"""A kill at any moment loses the two batches in flight, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cbir
from cbir.cli import run as command
from cbir.images import make_sample
from tests.conftest import GridEmbedder, picture
from tests.lifecycle.helpers import faults, ids, run, vectors

ROOT = Path(cbir.__file__).parent.parent
BATCH = 4
N = 60
MOMENTS = 20


def killed(arguments: list[str], wait: Callable[[subprocess.Popen[str]], None]) -> bool:
    """Run a program and kill it when `wait` returns; whether it was still running."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait(process)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    return running


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for i in range(N):
        picture(i).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def whole(
    gallery: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, int], dict[str, bytes]]:
    """Ids and vectors of an index that nothing interrupted."""
    index = tmp_path_factory.mktemp("whole") / "index"
    run(index, gallery, grid=GridEmbedder(), batch_size=BATCH, calibrate=False)
    return ids(index), vectors(index)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_the_next_run_goes_on(
    moment: int,
    gallery: Path,
    whole: tuple[dict[str, int], dict[str, bytes]],
    tmp_path: Path,
    grid: GridEmbedder,
) -> None:
    index, log = tmp_path / "index", tmp_path / "log"
    program = [sys.executable, "-m", "tests.lifecycle.killed_run"]
    after = random.Random(moment).uniform(0, 0.9)

    def wait(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)

    killed([*program, str(index), str(gallery), str(log), str(BATCH)], wait)
    begun = [int(line) for line in log.read_text().split()] if log.exists() else []
    report = run(index, gallery, grid=grid, batch_size=BATCH, calibrate=False)
    again = sum(begun) - (N - report.embedded)  # embedded, and lost with the process
    assert 0 <= again <= 2 * BATCH
    assert (ids(index), vectors(index)) == whole
    assert faults(index) == []


def test_the_moments_are_in_the_middle(gallery: Path, tmp_path: Path) -> None:
    """The test above would show little if its kills all came too early or too late."""
    states = set()
    for moment in range(0, MOMENTS, 3):
        log = tmp_path / f"log{moment}"
        index = tmp_path / f"index{moment}"
        program = [sys.executable, "-m", "tests.lifecycle.killed_run"]

        def wait(process: subprocess.Popen[str], log: Path = log, moment: int = moment) -> None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                lines = len(log.read_text().split()) if log.exists() else 0
                if lines >= 1 + moment // 2:
                    return
                time.sleep(0.002)

        running = killed([*program, str(index), str(gallery), str(log), str(BATCH)], wait)
        assert running
        with cbir.Index(str(index), GridEmbedder()) as opened:
            states.add(len(opened))
    assert all(0 <= n < N for n in states) and len(states) > 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_command_goes_on(tmp_path: Path) -> None:
    """`cbir index` with EfficientNet-Lite0, killed at 20 random moments."""
    photos = tmp_path / "photos"
    make_sample(photos)
    assert command(["index", str(photos), "-i", str(tmp_path / "whole")]) == 0
    wanted = ids(tmp_path / "whole"), vectors(tmp_path / "whole")
    rng = random.Random(7)
    for moment in range(MOMENTS):
        index = tmp_path / f"index{moment}"
        program = [sys.executable, "-m", "cbir", "index", str(photos), "-i", str(index)]
        seconds = rng.uniform(0.2, 9)

        def wait(process: subprocess.Popen[str], seconds: float = seconds) -> None:
            time.sleep(seconds)

        killed(program, wait)
        stored = vectors(index) if (index / "catalog.sqlite").exists() and ids(index) else {}
        assert all(wanted[1][file] == feature for file, feature in stored.items())
        assert command(["index", str(photos), "-i", str(index)]) == 0
        assert (ids(index), vectors(index)) == wanted
        assert command(["check", "-i", str(index)]) == 0
