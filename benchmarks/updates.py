"""What `cbir index` does on a real folder: time, memory, what is embedded again after changes.

    python benchmarks/updates.py --data FOLDER     # FOLDER/clothing: 3,781 photos
    python benchmarks/updates.py --smoke           # the sample gallery

Every step is the command itself, in a process of its own. The photos are copied first, since some
are moved, changed, deleted and added. Writes benchmarks/results/updates.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, save, say
from PIL import Image, ImageOps

from cbir import Index
from cbir.images import make_sample


class Steps:
    """Runs commands, and keeps what each printed, took and held."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def run(self, step: str, *arguments: str) -> dict[str, Any]:
        """One command with --json: its object, wall seconds and peak memory."""
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "cbir", *arguments, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        printed = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        found: dict[str, Any] = json.loads(printed) if printed else {}
        found.pop("index", None)
        found["exit_code"], found["wall_s"] = code, round(seconds, 1)
        unit = 1 if sys.platform == "darwin" else 1024
        found["peak_rss_mb"] = round(usage.ru_maxrss * unit / 1e6)
        self.rows[step] = found
        return found

    def show(self, step: str) -> None:
        """One line of a step of `cbir index`."""
        row = self.rows[step]
        counts = ", ".join(
            f"{row[key]} {key}"
            for key in ("embedded", "added", "changed", "moved", "removed", "unchanged")
            if key in row
        )
        say(f"{step:18} {row['wall_s']:7.1f} s {row['peak_rss_mb']:6} MB  {counts}")


def change(photos: Path, share: int) -> tuple[Path, Path]:
    """Move 10 x share files, change, delete and add `share` each; a changed and an added file."""
    files = sorted(p for p in photos.rglob("*") if p.suffix in {".jpg", ".png", ".webp"})
    step = len(files) // (13 * share)
    chosen = files[:: max(1, step)][: 13 * share]
    moved, changed, deleted = chosen[: 10 * share], chosen[10 * share :][:share], chosen[-share:]
    (photos / "moved here").mkdir()
    for i, file in enumerate(moved):
        file.rename(photos / "moved here" / f"{i}{file.suffix}")
    for file in changed:
        with Image.open(file) as image:
            upright = ImageOps.mirror(image.convert("RGB"))
        upright.save(file)
    for file in deleted:
        file.unlink()
    for i, file in enumerate(f for f in files[1::7] if f.exists() and f not in changed):
        if i == share:
            break
        with Image.open(file) as image:
            added = ImageOps.flip(image.convert("RGB"))
        added.save(photos / f"added {i}.png")
    return changed[0], photos / "added 0.png"


def main() -> None:
    """Index, again, change, again, check."""
    parser = argparse.ArgumentParser(description="Index a folder, change it, index it again")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    if not chosen.smoke and chosen.data is None:
        parser.error("expected --data FOLDER or --smoke")
    share = 1 if chosen.smoke else 10
    with tempfile.TemporaryDirectory() as folder:
        photos, index = Path(folder) / "photos", str(Path(folder) / "index")
        if chosen.smoke:
            make_sample(photos)
        else:
            shutil.copytree(chosen.data / "clothing", photos)
            for parent, _, _ in os.walk(photos):
                os.chmod(parent, 0o755)
        steps = Steps()
        steps.run("first run", "index", str(photos), "-i", index)
        steps.show("first run")
        steps.run("second run", "index", str(photos), "-i", index)
        steps.show("second run")
        changed, added = change(photos, share)
        steps.run("after changes", "index", str(photos), "-i", index)
        steps.show("after changes")
        report = steps.rows["after changes"]
        wanted = {"embedded": 2 * share, "added": share, "changed": share, "removed": share,
                  "moved": 10 * share}  # fmt: skip
        right = {key: report[key] == number for key, number in wanted.items()}
        checked = steps.run("check", "check", "-i", index)
        with Index.open(index) as opened:
            own = {
                str(file): opened.query(file.read_bytes(), k=1).hits[0] for file in (changed, added)
            }
        found = all(hit.path == file and hit.identical for file, hit in own.items())
        say(f"check: {len(checked['faults'])} faults; changed and added files found: {found}")
    if not chosen.smoke:
        say(f"written: {save('updates', {'machine': machine(), 'steps': steps.rows})}")
    if not (all(right.values()) and found and not checked["faults"]):
        raise SystemExit(f"not as expected: {right}")


if __name__ == "__main__":
    main()
