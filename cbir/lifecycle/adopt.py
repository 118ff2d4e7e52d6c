"""Moving an index to another embedder and back: `cbir adopt`.

Every picture is embedded again beside the live features, and a generation is made of them that no
query sees. Both are compared; one transaction swaps, where the new one is better or the user wants
it all the same. What was live stays, to go back to. Queries go on all the while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cbir.catalog import CatalogWriter, EmbedderRow, Generation
from cbir.config import FeatureExtractor, IndexSpec
from cbir.embed.package import read_learned
from cbir.errors import CbirError, IndexIncompatibleError, UsageError
from cbir.evaluate.calibrate import LEAST as CALIBRATES_FROM
from cbir.evaluate.calibrate import CalibrationOptions
from cbir.lifecycle.calibration import calibrate_index
from cbir.lifecycle.candidates import (
    Coverage,
    Reading,
    by_content,
    cover,
    drop_others,
    register,
)
from cbir.lifecycle.embedders import EmbedderRequest, unknown
from cbir.lifecycle.generations import begin, derive, tidy
from cbir.lifecycle.precision import record, settle
from cbir.lifecycle.sync import Progress, Silent, writing
from cbir.lifecycle.verdict import Contest, Verdict, check_contest, hold, steps
from cbir.query import Index, own_embedder, saved_folder
from cbir.types import Failure


@dataclass(frozen=True, slots=True)
class AdoptOptions:
    """How an embedder is adopted.

    contest    what is asked of both
    force      swap although it is not better, or some pictures cannot be read again
    calibrate  fit how the new scores become matches
    reading    how pictures are read
    """

    contest: Contest = field(default_factory=Contest)
    force: bool = False
    calibrate: bool = True
    reading: Reading = field(default_factory=Reading)


@dataclass(slots=True)
class AdoptReport:
    """What was done. `embedder` and `former` are fingerprints: of what was to be adopted, and of
    what was live when the run began.

    `swapped`: whether it is live now; `already`: it was before. `lost` are images that it has not
    seen, since their files cannot be read. `calibrated` is None where that was not tried.
    """

    embedder: str
    former: str
    images: int = 0
    embedded: int = 0
    lost: dict[int, Failure] = field(default_factory=dict)
    verdict: Verdict | None = None
    swapped: bool = False
    already: bool = False
    forced: bool = False
    why: str = ""
    generation: int | None = None
    fitted: int = 0
    calibrated: bool | None = None
    dropped: int = 0
    seconds: float = 0.0


def adopt(
    index: str,
    embedder: EmbedderRequest | FeatureExtractor,
    options: AdoptOptions | None = None,
    *,
    known: Sequence[FeatureExtractor] = (),
    progress: Progress | None = None,
) -> AdoptReport:
    """Move an index to another embedder, where that is better.

    `known` are embedders that the caller has already, the live one perhaps among them. Raises what
    `sync` raises; UsageError for an index without an embedder. That it is not better raises
    nothing: `swapped` is False, and `why` says so.
    """
    start = time.perf_counter()
    used = options or AdoptOptions()
    if isinstance(embedder, EmbedderRequest):
        embedder.spec()  # what is wrong with it is said before a network is loaded
    with writing(index) as catalog:
        live = _live(catalog)
        with Index(catalog.index, *known) as opened:
            check_contest(opened, used.contest)
        new = _wanted(catalog, embedder)
        report = AdoptReport(new.fingerprint, live.fingerprint, catalog.count())
        if live.fingerprint == new.fingerprint:
            report.already, report.why = True, "it is the live embedder already"
        else:
            _Adoption(catalog, new, used, progress or Silent(), known, report).run()
    report.seconds = time.perf_counter() - start
    return report


def _wanted(
    catalog: CatalogWriter, embedder: EmbedderRequest | FeatureExtractor
) -> FeatureExtractor:
    """The embedder itself, in the precision that is asked for; `auto` measures on the gallery."""
    if not isinstance(embedder, EmbedderRequest):
        return embedder
    loaded = embedder.load()
    if embedder.precision in (None, "f32"):
        return loaded
    found = settle(loaded, embedder.precision, [row.file for row in catalog.rows()])
    record(catalog, found)
    return found.embedder


def _live(catalog: CatalogWriter) -> EmbedderRow:
    row = catalog.embedder()
    if row is None or catalog.generation() is None:
        raise UsageError(
            f"{catalog.index} has no embedder yet, since it holds no images: expected an index to "
            "move. Make it with the embedder at once: `cbir index FOLDER --embedder EMBEDDER`."
        )
    return row


class _Adoption:
    """One run: from an embedder to a live generation, or to the reason why not."""

    def __init__(  # noqa: PLR0913
        self,
        catalog: CatalogWriter,
        embedder: FeatureExtractor,
        options: AdoptOptions,
        progress: Progress,
        known: Sequence[FeatureExtractor],
        report: AdoptReport,
    ) -> None:
        self.catalog = catalog
        self.embedder = embedder
        self.options = options
        self.progress = progress
        self.known = known
        self.report = report

    def run(self) -> None:
        """Embed, derive, calibrate, compare, swap."""
        row = register(self.catalog, self.embedder)
        drop_others(self.catalog, row)
        coverage = _covered(self.catalog, row, lambda: self.embedder, self.options.reading,
                            self.progress)  # fmt: skip
        try:
            if _keeps_all(self.report, coverage, self.options.force):
                live = self.catalog.generation()
                assert live is not None
                self._contend(live, row)
        finally:
            with self.catalog.writing():
                self.catalog.drop_unfinished()
            tidy(self.catalog)

    def _contend(self, live: Generation, row: EmbedderRow) -> None:
        """Make the generation, compare it with the live one, swap where that is right."""
        self.progress.stage("deriving")
        spec = IndexSpec.from_dict(self.catalog.setting("index_spec") or {})
        made = begin(self.catalog, row, spec)
        self.report.fitted = made.fitted
        self._compare(live.id, made.generation)
        if self.report.why and not self.options.force:
            return
        self._calibrate(made.generation)
        with self.catalog.writing():
            self.catalog.adopt_generation(made.generation)
        self.report.swapped = True
        self.report.forced = bool(self.report.why or self.report.lost)
        self.report.generation = made.generation
        self.report.dropped = drop_others(self.catalog)

    def _compare(self, old: int, new: int) -> None:
        contest = self.options.contest
        if not self.report.images:
            self.report.why = "the index holds no images, so there is nothing to compare"
            return
        self.progress.stage("comparing", steps(self.catalog, contest))
        given = (self.embedder, *self.known)
        path = self.catalog.index
        try:
            with (
                Index(path, *given, generation=old) as first,
                Index(path, *given, generation=new) as second,
            ):
                self.report.verdict = hold(
                    first, second, contest, self.report.lost.keys(),
                    (self._live_learned(), getattr(self.embedder, "learned", frozenset())),
                    self.progress.advance,
                )  # fmt: skip
        except CbirError as error:
            if not self.options.force:
                raise
            self.report.why = f"they could not be compared ({error})"
            return
        if not self.report.verdict.better:
            self.report.why = self.report.verdict.why

    def _live_learned(self) -> frozenset[bytes]:
        """The contents that the live embedder learned from, as far as the index knows."""
        row = self.catalog.embedder()
        folder = None if row is None else saved_folder(self.catalog.index, row.fingerprint)
        return frozenset() if folder is None else read_learned(folder)

    def _calibrate(self, generation: int) -> None:
        size = self.catalog.count_contents()
        if not self.options.calibrate or size < CALIBRATES_FROM:
            return
        self.progress.stage("calibrating", CalibrationOptions().budget(size))
        self.report.calibrated = calibrate_index(
            self.catalog, self.embedder, self.progress.advance, generation
        )


def _covered(
    catalog: CatalogWriter,
    row: EmbedderRow,
    embedder: Callable[[], FeatureExtractor],
    reading: Reading,
    progress: Progress,
) -> Coverage:
    progress.stage("embedding", len(by_content(catalog, row)))
    return cover(catalog, row, embedder, reading, progress.advance)


def _keeps_all(report: AdoptReport, coverage: Coverage, force: bool) -> bool:
    """Whether the swap may go on although pictures were lost; says why not."""
    report.embedded, report.lost = coverage.embedded, coverage.lost
    if not coverage.lost:
        return True
    if len(coverage.lost) == report.images:
        report.why = "none of the index's pictures can be read now"
        return False
    if not force:
        report.why = (
            f"{len(coverage.lost):,} of {report.images:,} images cannot be read now, and would not "
            "be found any more"
        )
    return force


def roll_back(
    index: str,
    options: AdoptOptions | None = None,
    *,
    known: Sequence[FeatureExtractor] = (),
    progress: Progress | None = None,
) -> AdoptReport:
    """Make the former generation live again, and the live one the former.

    It gives the same answers as before: its projection, calibration and settings were kept. Only
    pictures that were added since are embedded; where there are none, no network is loaded.
    """
    start = time.perf_counter()
    used, shown = options or AdoptOptions(), progress or Silent()
    with writing(index) as catalog:
        live, former, row = _live(catalog), catalog.former(), None
        if former is not None:
            row = catalog.embedder_of(former)
        if former is None or row is None:
            raise UsageError(
                f"{catalog.index} has no former embedder to go back to: expected one that `cbir "
                "adopt` replaced."
            )
        load = _loader(catalog, row, known)
        report = AdoptReport(row.fingerprint, live.fingerprint, catalog.count())
        coverage = _covered(catalog, row, load, used.reading, shown)
        if _keeps_all(report, coverage, used.force):
            shown.stage("deriving")
            derive(catalog, former)
            with catalog.writing():
                catalog.adopt_generation(former.id)
            tidy(catalog)
            report.swapped, report.generation = True, former.id
            report.fitted = former.fitted
    report.seconds = time.perf_counter() - start
    return report


def _loader(
    catalog: CatalogWriter, row: EmbedderRow, known: Sequence[FeatureExtractor]
) -> Callable[[], FeatureExtractor]:
    """The embedder of a row, loaded once, when it is first asked for."""
    found = [embedder for embedder in known if embedder.fingerprint == row.fingerprint]
    note = "" if found else unknown(catalog, row)
    if note:
        raise IndexIncompatibleError(
            f"The former embedder of {catalog.index} is not here any more: {note}. Install what "
            "holds it, or give it up: `cbir adopt --forget`."
        )

    def load() -> FeatureExtractor:
        if not found:
            found.append(own_embedder(catalog.index, row))
        return found[0]

    return load


def forget(index: str) -> list[str]:
    """Remove the former generation, and all features and embedders that are not live.

    Returns the embedders' fingerprints. What was kept of a refused embedder goes too.
    """
    with writing(index) as catalog:
        with catalog.writing():
            catalog.set("former", None)
        before = {row.fingerprint for row in catalog.embedders()}
        if drop_others(catalog):
            catalog.compact()
        tidy(catalog)
        return sorted(before - {row.fingerprint for row in catalog.embedders()})
