"""What this process may use of the machine: cores, memory, and where it may keep things."""

from __future__ import annotations

import os
import platform


def cores() -> int:
    """Cores that this process may compute on, at least 1: those of its affinity, and no more than a
    container's quota (cgroup v2, v1), rounded up."""
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    there = len(usable(0)) if usable else os.cpu_count() or 1
    quota = _quota()
    return there if quota is None else max(1, min(there, quota))


def _quota() -> int | None:
    """Cores that the control group allows, None where it allows all."""
    found = _words("/sys/fs/cgroup/cpu.max")  # "200000 100000", or "max 100000"
    if not found:
        found = [*_words("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                 *_words("/sys/fs/cgroup/cpu/cpu.cfs_period_us")]  # fmt: skip
    try:
        allowed, period = (int(word) for word in found)
    except ValueError:  # no such files, or "max"
        return None
    return None if allowed <= 0 or period <= 0 else -(-allowed // period)


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where a container allows
    less. 0 where it cannot be known."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        there = 0
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        words = _words(name)
        if len(words) == 1 and words[0].isdigit() and 0 < int(words[0]):
            return min(there, int(words[0])) if there else int(words[0])
    return there


def processor() -> dict[str, str | int | None]:
    """What speeds depend on: the processor's name and how many cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line.partition(":")[2].strip() for line in file if "model name" in line]
        model = lines[0] if lines else model
    except OSError:  # another system than Linux
        pass
    return {"processor": model, "cores": cores()}


def cache_folder() -> str:
    """Where what can be made again is kept: the folder of $CBIR_CACHE, else ~/.cache/cbir."""
    named = os.environ.get("CBIR_CACHE")
    if named:
        return os.path.dirname(os.path.abspath(named))
    return os.path.join(os.path.expanduser("~"), ".cache", "cbir")


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except (OSError, ValueError):
        return []
