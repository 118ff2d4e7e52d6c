"""An index of a million and of ten million vectors, and one that changes while it is asked.

    python benchmarks/index.py --part million        # 1,000,000 x 256
    python benchmarks/index.py --part ten-million    # 10,000,000 x 128, within 8 GB
    python benchmarks/index.py --part mix --minutes 10 --kind hnsw   # 200,000 x 128
    python benchmarks/index.py --smoke

A catalog is filled with made vectors (made_vectors.py), the index is built as `cbir index` builds
it, and asked by new vectors through `cbir.Index`, each in a process of its own. Exact neighbours
are found by comparing everything. Beside it: FAISS's own index without cbir around it, and, where
they are installed, hnswlib and usearch (8-bit, its candidates scored anew as cbir does it).
Writes benchmarks/results/index-PART.json and .png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import index_plots
from common import machine, save, say
from index_stages import STAGES

PARTS: dict[str, dict[str, Any]] = {
    "million": {"n": 1_000_000, "dims": 256, "queries": 2000, "memory": 0, "peers": True},
    "ten-million": {"n": 10_000_000, "dims": 128, "queries": 1000, "memory": 2 << 30,
                    "peers": False},
}  # fmt: skip


def stage(name: str, folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a stage in a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--stage", name, "--folder", folder, "--options",
         json.dumps(options)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"{name}: {json.dumps(found)}")
    return found


def sized(folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fill, build, open, ask; peers. In a folder that was kept, only what comes after the build."""
    notes = Path(folder) / "made.json"
    wanted = {key: options[key] for key in ("n", "dims", "queries", "memory", "kind")}
    kept = json.loads(notes.read_text()) if notes.exists() else {}
    if kept and kept["options"] != wanted:
        raise SystemExit(f"{folder}: expected {wanted}; it has {kept['options']}. Name another.")
    found = kept.get("found") or {name: stage(name, folder, options) for name in ("fill", "build")}
    notes.write_text(json.dumps({"options": wanted, "found": found}))
    found |= {name: stage(name, folder, options) for name in ("open", "ask")}
    if options["peers"]:
        asked = {**options, "recall": found["ask"]["recall"]}
        for name in ("hnswlib", "usearch"):
            try:
                __import__("usearch.index" if name == "usearch" else name)
            except ImportError:
                say(f"{name} is left out: it is not installed")
                continue
            found[name] = stage(name, folder, asked)
    return found


def main() -> None:
    """Run a part, print it, keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=[*PARTS, "mix"], default="million")
    parser.add_argument("--kind", default="auto", help="index kind; mix: hnsw unless given")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the mix")
    parser.add_argument("-n", type=int, help="vectors")
    parser.add_argument("--keep", metavar="FOLDER", help="work there, and leave it: a later run "
                        "does not build again")  # fmt: skip
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stage:
        say(json.dumps(STAGES[chosen.stage](Path(chosen.folder), **chosen.options)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or temporary
        if chosen.smoke:
            small = {"n": 3000, "dims": 32, "queries": 100, "memory": 0, "peers": True}
            for kind in ("hnsw", "pq"):
                sized(str(Path(temporary) / kind), {**small, "kind": kind})
            stage("mix", str(Path(temporary) / "mix"), {"n": 2000, "dims": 16, "kind": "hnsw",
                                                     "minutes": 0.05})  # fmt: skip
            return
        if chosen.part == "mix":
            kind = "hnsw" if chosen.kind == "auto" else chosen.kind
            options = {"n": chosen.n or 200_000, "dims": 128, "kind": kind,
                       "minutes": chosen.minutes}  # fmt: skip
            name, found = f"index-mix-{kind}", stage("mix", temporary, options)
        else:
            options = {**PARTS[chosen.part], "kind": chosen.kind}
            options["n"] = chosen.n or options["n"]
            name, found = f"index-{chosen.part}", sized(folder, options)
    out = save(name, {"machine": machine(), "options": options, **found})
    index_plots.plot(found, out.with_suffix(".png"))
    say(f"written: {out}")


if __name__ == "__main__":
    main()
