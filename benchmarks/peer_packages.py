"""cbir beside its peers themselves: the packages as installed, each in an environment of its own.

    python benchmarks/peer_packages.py --data FOLDER --python imagededup=ENV/bin/python \\
        --python pupyl=ENV/bin/python --python DeepImageSearch=ENV/bin/python
    python benchmarks/peer_packages.py --smoke [--python ...]

From a folder of JPEGs to what the package makes of it (features, or an index on disk), on the same
backbone with random weights; cbir computes in f32 by OpenVINO. A package runs where an interpreter
that has it is given: they conflict with each other. It works in a child process that stays
(benchmarks/peer_child.py), in turn with cbir, which works in this one; only the call that indexes
is timed, loading and building are reported beside it. Files: 32 to 256 of 500 x 375 pixels, 8 of
4000 x 3000. Writes benchmarks/results/peer-packages.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common import machine, save, say
from peers import by_cbir
from speed_pictures import SIZES, Job, photos
from timing import Contestant, ratio, ratio_text, take_turns

from cbir import Embedder
from cbir.config import EmbedderSpec, RuntimeChoice, using_runtime
from cbir.images import make_sample
from cbir.lifecycle import SyncOptions, sync
from cbir.machine import cores

SMALL, LARGE = "500x375", "4000x3000"
LARGE_FILES = 8
BATCH = 64
"""What imagededup takes at a time: a worker process of its own works on one batch."""
CHILD = Path(__file__).with_name("peer_child.py")


@dataclass(frozen=True, slots=True)
class Match:
    """A package with one of its models, and cbir with the same.

    index   whether it writes an index to disk, or gives features in memory; cbir does the same
    files   how many small files, and in how many rounds; of large ones 8, in 3 rounds
    large   whether it also runs on large files
    note    where the two networks differ
    """

    package: str
    model: str
    backbone: str
    index: bool
    files: int = 64
    rounds: int = 5
    large: bool = True
    note: str = ""

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.package}, {self.model}"


MATCHES = (
    Match("imagededup", "mobilenet_v3_small", "mobilenetv3small", index=False, files=256,
          note="the package's default network"),
    Match("pupyl", "mobilenet", "mobilenet", index=True,
          note="the package's default network; it pools by the maximum, cbir by the mean"),
    Match("DeepImageSearch", "resnet50", "resnet50", index=True,
          note="timm's has its stride in the 3 x 3 convolutions: 4.1 against 3.9 billion "
               "multiplications"),
    Match("DeepImageSearch", "vgg19", "vgg19", index=True, files=32, rounds=3, large=False,
          note="the default of its former interface, which keeps two dense layers: 19.6 against "
               "19.5 billion multiplications"),
)  # fmt: skip


class Child:
    """The process of a package."""

    def __init__(self, python: str, match: Match) -> None:
        self._match = match
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, "-I", str(CHILD), match.package, match.model],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self.built = self._answer()

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            self._log.seek(0)
            last = "\n".join(self._log.read().splitlines()[-12:])
            raise SystemExit(f"{self._match.name}: its process ended.\n{last}")
        found: dict[str, Any] = json.loads(line)
        return found

    def index(self, folder: str, workers: int) -> dict[str, Any]:
        """The folder once: seconds by the clock and of computing, and how many features."""
        pipe = _pipe(self._process.stdin)
        pipe.write(json.dumps({"folder": folder, "workers": workers}) + "\n")
        pipe.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()
        self._log.close()


def _pipe(there: IO[str] | None) -> IO[str]:
    assert there is not None
    return there


class Away(Contestant):
    """A contestant in a child process, which times itself."""

    def __init__(self, name: str, run: Callable[[], Mapping[str, Any]], count: int) -> None:
        super().__init__(name, self._units)
        self._run, self._count = run, count

    def _units(self) -> int:
        self._checked()
        return self._count

    def _checked(self) -> Mapping[str, Any]:
        done = self._run()
        expect(self.name, int(done["features"]), self._count)
        return done

    def lap(self) -> None:
        """Once: seconds a picture, as the child measured them."""
        done = self._checked()
        self.wall.append(done["wall"] / self._count)
        self.cpu.append(done["cpu"] / self._count)


def expect(name: str, made: int, count: int) -> None:
    """Every file must have given a feature."""
    if made != count:
        raise SystemExit(f"{name}: expected {count} features, of as many files; received {made}.")


def by_index(embedder: Embedder, folder: str, scratch: str) -> Callable[[], int]:
    """`cbir index` in this process: a new index each time, without the calibration of matches."""

    def work() -> int:
        index = tempfile.mkdtemp(dir=scratch)
        options = SyncOptions(calibrate=False)
        return sync(os.path.join(index, "i"), [folder], options, embedder=embedder).images

    return work


def ours(match: Match, embedder: Embedder, folder: str, scratch: str) -> Contestant:
    """cbir, doing what the package does; checked once."""
    files = sorted(str(path) for path in Path(folder).iterdir())
    if match.index:
        one = Contestant("cbir index", by_index(embedder, folder, scratch))
    else:
        one = Contestant("cbir features", by_cbir(embedder, files))
    expect(one.name, one.work(), len(files))
    return one


def race(
    match: Match, embedder: Embedder, child: Child | None, folder: str, rounds: int
) -> dict[str, Any]:
    """The package and cbir on one folder."""
    count = len(os.listdir(folder))
    theirs: list[Contestant] = []
    if child is not None:
        there = child  # for the functions below: not None
        several = match.package == "imagededup" and cores() > 1 and count > BATCH
        workers = (0, cores()) if several else (0,)
        for n in workers:
            name = f"{match.package}, {n} workers" if n else match.package

            def run(n: int = n) -> dict[str, Any]:
                return there.index(folder, n)

            theirs.append(Away(name, run, count))
    with tempfile.TemporaryDirectory() as scratch:
        own = ours(match, embedder, folder, scratch)
        take_turns([*theirs, own], rounds)
    ratios = {f"{own.name} / {other.name}": {"cpu": ratio(own, other),
                                             "wall": ratio(own, other, "wall")}
              for other in theirs}  # fmt: skip
    for one in (*theirs, own):
        row = one.row()
        say(f"| {one.name} | {row['per_second']} | {row['per_cpu_second']} |")
    for pair, both in ratios.items():
        by_cpu, by_clock = ratio_text(both["cpu"]), ratio_text(both["wall"])
        say(f"{pair}: {by_cpu} times by CPU, {by_clock} by the clock")
    return {"files": count, "rows": [one.row() for one in (*theirs, own)], "ratios": ratios}


def compare(job: Job, match: Match, python: str | None, sizes: list[str]) -> dict[str, Any]:
    """One package with one model, on every size."""
    start = time.perf_counter()
    with using_runtime(RuntimeChoice("openvino")):
        embedder = Embedder.from_spec(EmbedderSpec(match.backbone, "random:0"))
    found: dict[str, Any] = {"cbir_backbone": match.backbone, "note": match.note,
                             "cbir_build_s": round(time.perf_counter() - start, 2)}  # fmt: skip
    child = Child(python, match) if python is not None else None
    if child is not None:
        found |= child.built
        say(f"\n{match.name}, version {found['versions'][match.package]}: {found['import_s']} s to "
            f"import, {found['build_s']} s to build; patched: {found['patched']}")  # fmt: skip
    try:
        for size in sizes:
            if size == LARGE and not match.large:
                continue
            say(f"\n{match.name}, files of {size}\n\n| | images/s | images a CPU-second |\n"
                "|---|---|---|")  # fmt: skip
            count, rounds = (match.files, match.rounds) if size == SMALL else (LARGE_FILES, 3)
            with tempfile.TemporaryDirectory() as folder:
                photos(job, folder, "photo", SIZES[size], 4 if job.quick else count)
                found[size] = race(match, embedder, child, folder, job.rounds(rounds))
    finally:
        if child is not None:
            child.close()
    return found


def packages(job: Job, pythons: Mapping[str, str], sizes: list[str]) -> dict[str, Any]:
    """All packages that an interpreter was given for; a trial run without any has cbir alone."""
    matches = [match for match in MATCHES if match.package in pythons]
    if not matches:
        say("no peer: no interpreter was given (--python PACKAGE=FILE); cbir runs alone")
        matches = list(MATCHES[:2])
    return {match.name: compare(job, match, pythons.get(match.package), sizes)
            for match in matches}  # fmt: skip


def interpreter(text: str) -> tuple[str, str]:
    """ "pupyl=FILE" → package, interpreter."""
    package, _, file = text.partition("=")
    known = sorted({match.package for match in MATCHES})
    if package not in known or not os.path.isfile(file):
        raise argparse.ArgumentTypeError(
            f"expected PACKAGE=FILE with a package of {', '.join(known)} and an interpreter; "
            f"received {text!r}"
        )
    return package, file


def main() -> None:
    """Race, print, keep."""
    parser = argparse.ArgumentParser(description="cbir beside its peers themselves")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--python", type=interpreter, action="append", default=[],
                        metavar="PACKAGE=FILE")  # fmt: skip
    parser.add_argument("--sizes", default=f"{SMALL},{LARGE}", help="one of them, or both")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    pythons, sizes = dict(chosen.python), chosen.sizes.split(",")
    if not set(sizes) <= {SMALL, LARGE}:
        parser.error(f"--sizes: expected {SMALL}, {LARGE} or both; received {chosen.sizes}")
    if chosen.smoke:
        with tempfile.TemporaryDirectory() as folder:
            make_sample(folder)
            files = sorted(str(p) for p in Path(folder).rglob("original.jpg"))
            packages(Job(files, {}, quick=True), pythons, sizes[:1])
        return
    if chosen.data is None or not pythons:
        parser.error("expected --data FOLDER and --python PACKAGE=FILE, or --smoke")
    files = sorted(str(p) for p in (chosen.data / "clothing").rglob("*.jpg"))[::8]
    found = packages(Job(files, {}, quick=False), pythons, sizes)
    say(f"written: {save('peer-packages', {'machine': machine(), 'peers': found})}")


if __name__ == "__main__":
    main()
