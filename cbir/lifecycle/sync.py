"""Bringing an index up to date with its folders: `cbir index`.

Scan, compare, read, embed, store, fit, derive. Files are decoded ahead, and while one batch is
embedded the one before it is stored, each in one transaction: a kill loses those two batches,
nothing else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from cbir.catalog import (
    Catalog,
    CatalogWriter,
    FileState,
    NewContent,
    NewFile,
    catalog_path,
    create_catalog,
    make_folder,
    sqlite_errors,
)
from cbir.config import FeatureExtractor, IndexSpec
from cbir.errors import CbirError, UsageError
from cbir.evaluate.calibrate import CalibrationOptions
from cbir.evaluate.precisions import PrecisionRow
from cbir.images import Batch, LoadOptions, load
from cbir.index import writer_lock
from cbir.lifecycle.calibration import calibrate_index, calibration_due
from cbir.lifecycle.embedders import EmbedderRequest, IndexEmbedder
from cbir.lifecycle.folders import (
    PlanOptions,
    RootPlan,
    choose_targets,
    make_plan,
    require_folder,
)
from cbir.lifecycle.generations import Refreshed, refresh
from cbir.lifecycle.overlap import Overlap, Stages, new_contents
from cbir.lifecycle.precision import EVERY
from cbir.query import Index, match_metadata, read_csv
from cbir.types import Failure, ImageRef, LoadedImage


class Progress(Protocol):
    """Who wants to know how far a job is."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins; total steps, where known."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        ...


class Silent:
    """Progress that nobody sees."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, steps: int = 1) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How an index is brought up to date.

    prune         drop what is missing under a root that is absent or empty, too
    retry_failed  try files again that failed before and did not change
    scanning      {"exclude": [...], "include_hidden": bool} from now on; None: as before
    metadata      CSV with a column `path`, and others to be stored
    spec          how derived state is made; None: as before
    refit         fit the projection again in any case
    reindex       plan, build and tune the search index again in any case
    calibrate     afterwards, where it is due, fit how scores become matches
    max_pixels    pictures that would hold more pixels in memory are refused
    batch_size    images embedded at a time; a kill loses two batches at most
    """

    prune: bool = False
    retry_failed: bool = False
    scanning: dict[str, object] | None = None
    metadata: str | None = None
    spec: IndexSpec | None = None
    refit: bool = False
    calibrate: bool = True
    max_pixels: int | None = None
    batch_size: int = 32
    recheck: frozenset[int] = frozenset()
    reindex: bool = False


@dataclass(slots=True)
class SyncReport:
    """What was done. Numbers are files, but for `embedded` (different pictures).

    `calibrated` is None where that was not due, False where it could not be done; `seconds` are of
    the whole run, `calibration_s` of that part. `run_by` says what ran the network, "" where none
    was run. `precision` says which one was chosen and why, `precisions` what was measured for it.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0
    ignored: int = 0
    known_failures: int = 0
    failures: list[Failure] = field(default_factory=list)
    offline: list[str] = field(default_factory=list)
    metadata_rows: int = 0
    metadata_unmatched: tuple[str, ...] = ()
    images: int = 0
    calibrated: bool | None = None
    calibration_s: float = 0.0
    seconds: float = 0.0
    derived: Refreshed | None = None
    notes: list[str] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)
    run_by: str = ""
    precision: str = ""
    precisions: list[PrecisionRow] = field(default_factory=list)


def sync(
    index: str,
    folders: Sequence[str] = (),
    options: SyncOptions | None = None,
    *,
    embedder: EmbedderRequest | FeatureExtractor | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring an index up to date with these folders (none: all that it knows).

    Raises IndexLockedError, IndexIncompatibleError (another embedder), UsageError (no such
    folder), OperationFailedError (disk full, ...). An image that cannot be used raises nothing: it
    is in `failures`.
    """
    start = time.perf_counter()
    used = options or SyncOptions()
    _check_folders(index, folders)
    if isinstance(embedder, EmbedderRequest) and embedder.name is not None:
        embedder.spec()
    if used.metadata is not None:
        read_csv(used.metadata)  # what is wrong with it is said before the work, not after it
    with writing(index, create=bool(folders)) as catalog:
        job = _Sync(catalog, used, progress or Silent(), embedder)
        job.run(folders)
    job.report.seconds = time.perf_counter() - start
    return job.report


def build(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    embedder: EmbedderRequest | FeatureExtractor | None = None,
) -> Index:
    """Index a folder into the index folder `path`, and open it for queries.

    Raises what `sync` raises. Files that could not be used are in the index's list of failures.
    """
    sync(os.fspath(path), [os.fspath(folder)], embedder=embedder)
    return Index(os.fspath(path))


def _check_folders(index: str, folders: Sequence[str]) -> None:
    """Refuse, before anything is written, what can only be a mistake."""
    if os.path.realpath(index) in {os.path.realpath(folder) for folder in folders}:
        raise UsageError(
            f"Expected an index folder apart from the images; {index} is both. Name another with "
            "-i (it may lie inside the folder with the images)."
        )
    if not os.path.exists(catalog_path(index)):
        for folder in folders:
            require_folder(folder)


@contextmanager
def writing(index: str, create: bool = False) -> Iterator[CatalogWriter]:
    """The index open for writing, under its lock; made where there is none and `create`."""
    if create:
        make_folder(index)
    else:
        Catalog(index).close()  # says what is wrong before a lock file is made
    with writer_lock(index), sqlite_errors(catalog_path(index)):
        if create:
            create_catalog(index)
        with CatalogWriter(index) as catalog:
            yield catalog


class _Sync:
    """One run: its catalog, its options and what it has done so far."""

    def __init__(
        self,
        catalog: CatalogWriter,
        options: SyncOptions,
        progress: Progress,
        embedder: EmbedderRequest | FeatureExtractor | None,
    ) -> None:
        self.catalog = catalog
        self.options = options
        self.progress = progress
        self.embedder = IndexEmbedder(catalog, embedder)
        self.report = SyncReport()
        self._known: dict[tuple[str, str], FileState] = {}
        self._roots: dict[str, int] = {}
        self._movable: dict[bytes, list[FileState]] = {}
        self._gone: dict[int, FileState] = {}
        self._unembedded: set[int] = set()

    def run(self, folders: Sequence[str]) -> None:
        """Plan, read and embed, drop, describe, derive."""
        self._prepare()
        targets = choose_targets(self.catalog, folders, self.options.scanning)
        row = self.catalog.embedder()
        if row is not None:  # left over where another embedder was adopted without their files
            self._unembedded.update(self.catalog.without_feature(row.id))
        plan_options = PlanOptions(
            self.options.prune, self.options.retry_failed, self.options.recheck | self._unembedded
        )
        self.progress.stage("scanning")
        with self.report.stages.timed("scan_s"):
            plans = [make_plan(self.catalog, target, plan_options) for target in targets]
            todo = self._gather(plans)
        if self.embedder.unsettled is not None and todo:
            self._settle(todo)
        self.progress.stage("indexing", len(todo))
        self._load(todo)
        self._drop(plans)
        self._describe()
        self.progress.stage("deriving")
        with self.report.stages.timed("derive_s"):
            self.report.derived = refresh(
                self.catalog, refit=self.options.refit, reindex=self.options.reindex
            )
        self.report.images = self.catalog.count()
        if self.options.calibrate and calibration_due(self.catalog):
            self._calibrate()
        self.report.notes += self.embedder.notes
        self.report.run_by = self.embedder.run_by if self.report.embedded else ""

    def _settle(self, todo: Sequence[ImageRef]) -> None:
        """A new index: the network's precision is settled on the pictures that come."""
        self.progress.stage("choosing the precision", len(EVERY))
        found = self.embedder.settle([ref.file for ref in todo], self.progress.advance)
        self.report.precision, self.report.precisions = found.why, list(found.rows)

    def _calibrate(self) -> None:
        """Fit how scores become matches, on pictures that are read again, edited and embedded."""
        planned = CalibrationOptions().budget(self.catalog.count_contents())
        self.progress.stage("calibrating", planned)
        start = time.perf_counter()
        try:
            embedder = self.embedder.get()
        except CbirError:  # nothing had to be embedded, and so it was not missed until now
            self.report.calibrated = False
            return
        self.report.calibrated = calibrate_index(self.catalog, embedder, self.progress.advance)
        self.report.calibration_s = time.perf_counter() - start

    def _prepare(self) -> None:
        """Store how derived state is made, where that is new."""
        spec = self.options.spec
        if self.catalog.setting("index_spec") is None or spec is not None:
            with self.catalog.writing():
                self.catalog.set("index_spec", (spec or IndexSpec()).to_dict())

    def _gather(self, plans: Sequence[RootPlan]) -> list[ImageRef]:
        """All files to look at; notes what is known of them and which files may have moved."""
        todo: list[ImageRef] = []
        for plan in plans:
            root = plan.target.root
            self._roots[root.path] = root.id
            for ref, known in plan.todo:
                todo.append(ref)
                if known is not None:
                    self._known[root.path, ref.path] = known
            self._gone.update({state.id: state for state in plan.gone})
            self.report.unchanged += plan.unchanged
            self.report.known_failures += plan.known_failures
            self.report.ignored += plan.ignored
            self.report.failures += plan.failures
            if plan.offline:
                self.report.offline.append(f"{root.path} {plan.offline}")
        for row in self.catalog.rows(sorted(self._gone)):
            self._movable.setdefault(row.content, []).append(self._gone[row.id])
        return todo

    # -- reading and embedding -------------------------------------------------------------------

    def _load(self, todo: Sequence[ImageRef]) -> None:
        if not todo:
            return
        row = self.catalog.embedder()
        own = row.id if row is not None else -1
        reader_lock = threading.Lock()
        with Catalog(self.catalog.index) as reader:

            def stored(content: bytes) -> bool:
                with reader_lock:
                    return reader.has_feature(content, own)

            options = LoadOptions(
                spec=self.embedder.spec,
                batch_size=self.options.batch_size,
                known=stored,
                **({"max_pixels": self.options.max_pixels} if self.options.max_pixels else {}),
            )
            with Overlap(load(todo, options), self._begin, self.report.stages) as batches:
                for batch, contents in batches:
                    with self.report.stages.timed("write_s"):
                        self._store(batch, contents)
                    self.progress.advance(len(batch.images) + len(batch.failures))

    def _begin(self, batch: Batch, ahead: Collection[bytes]) -> Callable[[], list[NewContent]]:
        """What will embed the new pictures of a batch, in another thread; `ahead` are the contents
        that are being embedded before it."""
        fresh: dict[bytes, LoadedImage] = {}
        row = self.catalog.embedder()
        for image in batch.images:
            if image.pixels is not None and image.content not in fresh:
                known = row is not None and self.catalog.has_feature(image.content, row.id)
                if not known and image.content not in ahead:
                    fresh[image.content] = image
        images = list(fresh.values())
        if not images:
            return list
        embedder = self.embedder.get()
        if self.catalog.generation() is None:
            refresh(self.catalog)  # so that readers find one while the first run goes on
        return partial(new_contents, embedder, images)

    def _store(self, batch: Batch, contents: Sequence[NewContent]) -> None:
        """Store a batch and its new features in one transaction."""
        row = self.catalog.embedder()  # the first batch of an index has recorded it by now
        with self.catalog.writing() as seq:
            if contents and row is not None:
                self.catalog.put_contents(row.id, contents)
            for image in batch.images:
                self._store_file(seq, image)
            for ref, failure in batch.failures:
                self._store_failure(seq, ref, failure)
        self.report.embedded += len(contents)

    def _store_file(self, seq: int, image: LoadedImage) -> None:
        ref = image.ref
        known = self._known.get((ref.root, ref.path))
        same = known is not None and image.content in self.catalog.hashes_of([known.id])
        if known is not None and same:
            self.report.unchanged += 1
            if known.id in self._unembedded:  # a change: readers must take its vector in
                again = NewFile(self._roots[ref.root], ref, image.content, known.id)
                self.catalog.put_files(seq, [again])
            else:
                self.catalog.touch_file(known.id, ref.size, ref.mtime_ns)
            return
        if known is not None:
            self.report.changed += 1
            kept: int | None = known.id
        else:
            origins = self._movable.get(image.content, [])
            kept = origins.pop(0).id if origins else self._left_elsewhere(image.content)
            if kept is not None:
                self._gone.pop(kept, None)
                self.report.moved += 1
            else:
                self.report.added += 1
        new = NewFile(self._roots[ref.root], ref, image.content, kept)
        self.catalog.put_files(seq, [new])

    def _left_elsewhere(self, content: bytes) -> int | None:
        """The id of a file with this content that left a root that this run does not look at.

        Only where that root is there: of an unmounted disk, nothing can be said.
        """
        for row in self.catalog.rows(self.catalog.ids_of_content(content)):
            if row.root not in self._roots and os.path.isdir(row.root):
                if not os.path.lexists(row.file):
                    return row.id
        return None

    def _store_failure(self, seq: int, ref: ImageRef, failure: Failure) -> None:
        if failure.passing:  # it vanished, or cannot be read just now: the next run looks again
            self.report.failures.append(failure)
            return
        known = self._known.get((ref.root, ref.path))
        former = None if known is None else known.id
        if former is not None:
            self.catalog.remove_files(seq, [former], described=True)
            self.report.removed += 1
        self.catalog.put_failure(self._roots[ref.root], ref, failure, former)
        self.report.failures.append(failure)

    # -- what is gone, metadata ------------------------------------------------------------------

    def _drop(self, plans: Sequence[RootPlan]) -> None:
        """Take out what is gone, and forget failures of files that are."""
        with self.catalog.writing() as seq:
            self.catalog.remove_files(seq, sorted(self._gone))
            for plan in plans:
                self.catalog.drop_failures(plan.target.root.id, plan.healed)
        self.report.removed += len(self._gone)

    def _describe(self) -> None:
        """Store the metadata of the CSV."""
        if self.options.metadata is None:
            return
        found = match_metadata(self.catalog, self.options.metadata)
        with self.catalog.writing():
            self.catalog.put_metadata(found.rows)
        self.report.metadata_rows = len(found.rows)
        self.report.metadata_unmatched = found.unmatched
