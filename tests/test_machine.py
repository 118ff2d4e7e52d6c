"""What the process may use of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cbir import machine


def quota(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(machine, "_words", lambda path: files.get(path, "").split())


def test_the_processor_has_a_name_and_no_host() -> None:
    found = machine.processor()
    assert found["processor"] and isinstance(found["cores"], int)
    assert platform.node() not in str(found.values())


def test_cores_are_those_of_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from cbir.machine import cores; print(cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ({"/sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        ({"/sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
          "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
          "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 64),
        ({}, 64),
    ],
)  # fmt: skip
def test_a_container_has_fewer(
    files: dict[str, str], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    quota(monkeypatch, files)
    assert machine.cores() == cores


def test_memory_is_the_machine_s_or_the_container_s(monkeypatch: pytest.MonkeyPatch) -> None:
    quota(monkeypatch, {})
    whole = machine.memory()
    assert whole > 1 << 28
    quota(monkeypatch, {"/sys/fs/cgroup/memory.max": "max"})
    assert machine.memory() == whole
    quota(monkeypatch, {"/sys/fs/cgroup/memory.max": str(1 << 20)})
    assert machine.memory() == 1 << 20


def test_the_cache_is_where_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBIR_CACHE", str(tmp_path / "cache.sqlite"))
    assert machine.cache_folder() == str(tmp_path)
    monkeypatch.delenv("CBIR_CACHE")
    assert machine.cache_folder() == os.path.join(os.path.expanduser("~"), ".cache", "cbir")
