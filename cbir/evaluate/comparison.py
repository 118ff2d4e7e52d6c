"""Many systems on one protocol: quality with intervals, speed, size, and the Pareto front.

Each embedder is loaded alone, embeds the pictures once (the feature cache remembers them), and is
projected in all ways that are asked. What is finished is kept (`kept.py`), so that a run goes on
where it was interrupted, and a second one measures nothing. Speed is measured on a sample, without
the cache, in laps that go round the embedders.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import cbir
from cbir.catalog import FeatureCache
from cbir.catalog.halves import blob_size
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed import sample_rows
from cbir.embed.projection import FIT_AT
from cbir.errors import EmbedderError, UsageError
from cbir.evaluate.comparison_rows import Comparison, Problem, Row, ordered
from cbir.evaluate.fitting import fitted
from cbir.evaluate.grid import Axes, Candidate, grid
from cbir.evaluate.ground_truth import Truth
from cbir.evaluate.kept import Kept, contents_of, key_of, protocol_key
from cbir.evaluate.protocol import NAMES, Summary, per_query, summarise
from cbir.evaluate.run import answered, truth_features
from cbir.evaluate.speed import SAMPLE, Lap, conditions, embedding_lap, search_costs
from cbir.types import Failure


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of progress: `stage(name, total)`, then `advance(steps)`."""

    stage: Callable[[str, int], None] = lambda name, total: None
    advance: Callable[[int], None] = lambda steps: None


@dataclass(frozen=True, slots=True)
class Cell:
    """One system of the plan."""

    candidate: Candidate
    spec: IndexSpec
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is kept of a system, without its answers; `images` are those of the queries."""

    about: Mapping[str, Any]
    summary: Summary
    images: tuple[int, ...]
    per_query: Mapping[str, Sequence[float]]


class Compare:
    """A comparison: what it will measure (`cells`, `done`), then `run`, then `result`."""

    def __init__(self, truth: Truth, axes: Axes, folder: str, watch: Watch | None = None,
                 laps: int = 3) -> None:  # fmt: skip
        """Read the pictures' contents and plan; nothing is embedded yet.

        `folder` keeps what is finished; `laps` are repeats of the timing. Raises UsageError for an
        embedder that does not exist, or where no picture can be read.
        """
        grid(axes)  # a name that is none is said before files are read
        self.truth, self.kept, self.laps = truth, Kept(folder), laps
        self._watch = watch or Watch()
        self._watch.stage("reading", len(truth.paths))
        contents = contents_of(truth, self._watch.advance)
        if not any(contents):
            raise UsageError("compare: no picture of the protocol can be read.")
        self.machine = conditions()
        self._protocol = protocol_key(truth, contents)
        self.fitted = len({contents[i] for i in truth.gallery.tolist()} - {b""}) >= FIT_AT
        self.candidates = grid(axes, self.fitted)
        self.asked = [c for c in self.candidates if c.source in set(axes.embedders)]
        self.cells = [self._cell(c, spec) for c in self.candidates for spec in c.specs]
        readable = [i for i, content in enumerate(contents) if content]
        chosen = sample_rows([contents[i] for i in readable], SAMPLE, 0)
        self._sample = [truth.paths[readable[i]] for i in chosen.tolist()]
        self._problems: dict[str, Problem] = {}
        self._read: dict[str, _Figures] = {}

    def _key(self, candidate: Candidate, more: Mapping[str, Any]) -> str:
        spec = None if candidate.spec is None else candidate.spec.to_dict()
        return key_of(
            {"protocol": self._protocol, "cbir": cbir.__version__, "machine": self.machine,
             "embedder": spec, "identity": candidate.identity, **more}
        )  # fmt: skip

    def _cell(self, candidate: Candidate, spec: IndexSpec) -> Cell:
        key = self._key(candidate, {"index": spec.to_dict()})
        return Cell(candidate, spec, candidate.system(spec), key)

    def done(self, cell: Cell) -> bool:
        """Whether a system's answers and times are kept already."""
        timed = len(self._timed(cell.candidate)) >= self.laps
        return timed and self.kept.has(cell.name, cell.key)

    def _figures(self, cell: Cell) -> _Figures | None:
        """What the kept answers of a system say; they are read once."""
        if cell.key not in self._read:
            answers = self.kept.answers(cell.name, cell.key)
            if answers is None:
                return None
            images = tuple(answer.image for answer in answers.answers)
            self._read[cell.key] = _Figures(
                answers.about, summarise(answers), images, per_query(answers)
            )
        return self._read[cell.key]

    def run(self, cache: FeatureCache | None = None) -> None:
        """Measure what is not kept yet. An embedder that cannot be loaded becomes a problem.

        Raises OperationFailedError where the disk refuses.
        """
        for lap in range(max(1, self.laps)):
            for candidate in self.candidates:
                if candidate.name in self._problems:
                    continue
                try:
                    self._turn(candidate, lap, cache)
                except (EmbedderError, UsageError, MemoryError) as error:
                    reason = str(error) or "it needs more memory than there is"
                    self._problems[candidate.name] = Problem(candidate.name, reason)
                gc.collect()  # one embedder at a time: a graph is a cycle of references

    def _turn(self, candidate: Candidate, lap: int, cache: FeatureCache | None) -> None:
        """One lap of one embedder: in the first, its answers; in each, its speed."""
        cells = [cell for cell in self.cells if cell.candidate is candidate]
        missing = [c for c in cells if lap == 0 and self._figures(c) is None]
        timed = len(self._timed(candidate)) > lap or lap >= self.laps
        if not missing and timed:
            return
        gallery = [self.truth.paths[i] for i in self.truth.gallery.tolist()]
        embedder = fitted(candidate.load(), gallery, cache)
        if missing:
            self._answer([c for c in cells if c in missing or self._stale(c, embedder)],
                         embedder, cache)  # fmt: skip
        if not timed:
            self._watch.stage(f"{candidate.name}: timing", len(self._sample))
            lap_found = embedding_lap(self._sample, embedder, self._watch.advance)
            self._keep_lap(candidate, lap_found)

    def _stale(self, cell: Cell, embedder: FeatureExtractor) -> bool:
        """Whether kept answers are of other weights under the same name."""
        found = self._figures(cell)
        return found is None or found.about.get("fingerprint") != embedder.fingerprint

    def _answer(
        self, cells: Sequence[Cell], embedder: FeatureExtractor, cache: FeatureCache | None
    ) -> None:
        """Embed once, project in all ways, rank, search for the time it takes, keep."""
        self._watch.stage(cells[0].candidate.name, len(self.truth.paths))
        found = truth_features(self.truth, embedder, cache, self._watch.advance)
        if not len(found.truth.gallery) or not found.truth.queries:
            raise UsageError("no query, or no picture of the gallery, can be used.")
        self._watch.stage(f"{cells[0].candidate.name}: ranking", 0)
        projections = found.projections([cell.spec for cell in cells])
        costs = search_costs(
            [(c.spec.kind, p.apply(found.queries), p.apply(found.gallery))
             for c, p in zip(cells, projections, strict=True)],
            max(1, self.laps),
        )  # fmt: skip
        place = {path: i for i, path in enumerate(self.truth.paths)}
        skipped = [[place.get(f.path, -1), f.path, f.reason] for f in found.failures]
        for cell, projection, cost in zip(cells, projections, costs, strict=True):
            answers = answered(found, cell.spec, projection)
            about = {
                **answers.about, "source": cell.candidate.source, "skipped": skipped,
                "search_ms": _plain(cost.ms), "bytes_per_image": round(cost.bytes_per_image),
                "feature_bytes": blob_size(embedder.feature_dims), "machine": self.machine,
            }  # fmt: skip
            self._read.pop(cell.key, None)
            self.kept.keep_answers(
                cell.name, cell.key, replace(answers, system=cell.name, about=about)
            )

    def _times(self, candidate: Candidate) -> tuple[str, str]:
        return f"speed {candidate.name}", self._key(candidate, {"speed": SAMPLE})

    def _timed(self, candidate: Candidate) -> list[Lap]:
        found = self.kept.record(*self._times(candidate)).get("laps", [])
        return [Lap(_number(a), _number(b)) for a, b in found]

    def _keep_lap(self, candidate: Candidate, lap: Lap) -> None:
        laps = [*self._timed(candidate), lap]
        rows = [[_plain(one.images_per_second), _plain(one.alone_ms)] for one in laps]
        record = {"embedder": candidate.name, "machine": self.machine, "laps": rows,
                  "pictures": len(self._sample), "unit": ["images/s", "ms of one"]}  # fmt: skip
        self.kept.keep_record(*self._times(candidate), record)

    def check(self, by: str, baseline: str | None) -> None:
        """Raise UsageError for a metric that is none, or a system that is not in the grid."""
        if by not in NAMES:
            raise UsageError(f"by: expected one of {', '.join(NAMES)}; received {by!r}.")
        if baseline is not None and not any(cell.name == baseline for cell in self.cells):
            names = "; ".join(cell.name for cell in self.cells)
            raise UsageError(
                f"baseline: expected a system of the grid ({names}); received {baseline!r}."
            )

    def result(self, by: str = "mAP", baseline: str | None = None) -> Comparison:
        """The table of what is kept, ordered by the metric `by`.

        `baseline` is a system's name; None is the default system, or else the first measured.
        Raises as `check` does.
        """
        self.check(by, baseline)
        rows: list[Row] = []
        failures: dict[str, Failure] = {}
        for cell in self.cells:
            found = self._figures(cell)
            if found is None or cell.candidate.name in self._problems:
                continue
            rows.append(self._row(cell, found, by))
            for at, path, reason in found.about["skipped"]:
                path = self.truth.paths[at] if at >= 0 else path
                failures[path] = Failure(path, reason)
        made, base = ordered(rows, by, baseline)
        return Comparison(
            self.truth.name, by, base, made, tuple(self._problems.values()),
            tuple(failures.values()), self.fitted, self.machine, len(self._sample),
        )  # fmt: skip

    def _row(self, cell: Cell, found: _Figures, by: str) -> Row:
        laps, about = self._timed(cell.candidate), found.about
        return Row(
            system=cell.name, candidate=cell.candidate, spec=cell.spec, about=about,
            summary=found.summary,
            values=dict(zip(found.images, found.per_query[by], strict=True)),
            images_per_second=_median([lap.images_per_second for lap in laps]),
            alone_ms=_median([lap.alone_ms for lap in laps]),
            search_ms=_number(about["search_ms"]), bytes_per_image=about["bytes_per_image"],
            feature_bytes=about["feature_bytes"],
        )  # fmt: skip


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
