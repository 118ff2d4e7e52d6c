"""Which files of the known folders are new, changed or gone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cbir.catalog import CatalogWriter, FileState, Root
from cbir.errors import UsageError
from cbir.images import ScanOptions, scan
from cbir.types import Failure, ImageRef


@dataclass(frozen=True, slots=True)
class Target:
    """What one scan covers: a root, or the part of it below `prefix` ("" = all of it)."""

    root: Root
    prefix: str = ""

    @property
    def folder(self) -> str:
        """The folder that is scanned."""
        return (
            os.path.join(self.root.path, *self.prefix.split("/"))
            if self.prefix
            else (self.root.path)
        )


@dataclass(slots=True)
class RootPlan:
    """What is to be done for one target.

    `todo`: files to look at, with what the catalog knows of each (None: it is new); `gone`: files
    that are not there any more; `healed`: paths whose failures can be forgotten; `offline`: why
    nothing was dropped although files are missing, "" where nothing was held back.
    """

    target: Target
    todo: list[tuple[ImageRef, FileState | None]] = field(default_factory=list)
    gone: list[FileState] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    unchanged: int = 0
    known_failures: int = 0
    ignored: int = 0
    offline: str = ""
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How folders are compared with the catalog."""

    prune: bool = False
    retry_failed: bool = False
    recheck: frozenset[int] = frozenset()
    """Ids of files to look at again although they did not change."""


def choose_targets(
    catalog: CatalogWriter, folders: Sequence[str], scanning: Mapping[str, object] | None
) -> list[Target]:
    """The folders to scan: the given ones (added where they are new), else all known roots.

    A folder inside a known root means that part of the root; a folder around known roots takes
    them in, ids and all. `scanning` None keeps how each root was scanned before.
    Raises UsageError for a folder that is none, or where nothing is known yet.
    """
    if not folders:
        if scanning is not None:
            for root in catalog.roots():
                with catalog.writing():
                    catalog.add_root(root.path, {**root.scanning, **scanning})
        roots = catalog.roots()
        if not roots:
            raise UsageError(
                f"{catalog.index} knows no folder yet: expected `cbir index FOLDER`; received no "
                "FOLDER."
            )
        return [Target(root) for root in roots]
    known_paths = {root.path for root in catalog.roots()}
    for folder in folders:  # all of them, before the first is added
        if os.path.realpath(folder) not in known_paths:
            require_folder(folder)
    chosen = [_choose(catalog, folder, scanning) for folder in dict.fromkeys(folders)]
    known = {root.id: root for root in catalog.roots()}
    targets = {(t.root.id, t.prefix): t for t in chosen if t.root.id in known}
    return [t for t in targets.values() if not any(_covers(other, t) for other in targets.values())]


def _covers(outer: Target, inner: Target) -> bool:
    """Whether one target holds all of another."""
    if outer.root.id != inner.root.id or outer.prefix == inner.prefix:
        return False
    return not outer.prefix or inner.prefix.startswith(outer.prefix + "/")


def require_folder(folder: str) -> None:
    """UsageError where there is no such folder."""
    if not os.path.isdir(folder):
        what = "a file" if os.path.exists(folder) else "nothing"
        raise UsageError(f"Expected a folder with images; there is {what} at {folder}.")


def _choose(catalog: CatalogWriter, folder: str, scanning: Mapping[str, object] | None) -> Target:
    path = os.path.realpath(folder)
    roots = catalog.roots()
    same = next((root for root in roots if root.path == path), None)
    if same is None:
        require_folder(folder)
    around = next((r for r in roots if path.startswith(os.path.join(r.path, ""))), None)
    if around is not None:
        if scanning is not None:
            raise UsageError(
                f"--exclude and --hidden hold for a whole folder of the index; {folder} lies in "
                f"{around.path}. Expected: cbir index {around.path} --exclude GLOB."
            )
        return Target(around, os.path.relpath(path, around.path).replace(os.sep, "/"))
    with catalog.writing():
        kept = {**(same.scanning if same is not None else {}), **(scanning or {})}
        inside = [r for r in roots if r.path.startswith(os.path.join(path, ""))]
        kept["exclude"] = [*_globs(kept), *_excludes_of(inside, path)]
        root = catalog.add_root(path, kept)
        for inner in inside:
            prefix = os.path.relpath(inner.path, path).replace(os.sep, "/")
            catalog.adopt_root(inner.id, root, prefix)
    return Target(next(r for r in catalog.roots() if r.id == root))


def _globs(scanning: Mapping[str, object]) -> list[str]:
    """The exclude globs of a root."""
    found = scanning.get("exclude", ())
    return [str(glob) for glob in found] if isinstance(found, list | tuple) else []


def _excludes_of(roots: Sequence[Root], path: str) -> list[str]:
    """What the excludes of roots mean in a folder around them."""
    made = []
    for root in roots:
        prefix = os.path.relpath(root.path, path).replace(os.sep, "/")
        for glob in _globs(root.scanning):
            made += [f"{prefix}/{glob}", f"{prefix}/*/{glob}"]
    return made


def make_plan(catalog: CatalogWriter, target: Target, options: PlanOptions) -> RootPlan:
    """Scan one target and compare it with the catalog."""
    plan = RootPlan(target)
    below = target.prefix + "/" if target.prefix else ""
    known = {p: s for p, s in catalog.states(target.root.id).items() if p.startswith(below)}
    failed = {p: s for p, s in catalog.failed(target.root.id).items() if p.startswith(below)}
    plan.offline = absence(target.root.path)
    seen: set[str] = set()
    unlisted: tuple[str, ...] = ()
    if not plan.offline or os.path.isdir(target.folder):
        found = scan(target.folder, _scan_options(target, catalog.index))
        plan.ignored, plan.failures = found.ignored, found.failures
        unlisted = tuple(below + folder for folder in found.unreadable)
        for ref in found.refs:
            ref = ImageRef(target.root.path, below + ref.path, ref.size, ref.mtime_ns)
            seen.add(ref.path)
            _compare(plan, ref, known.get(ref.path), failed.get(ref.path), options)
    missing = [s for p, s in known.items() if p not in seen and not _inside(p, unlisted)]
    if plan.offline and not options.prune:
        plan.unchanged += len(missing)
        plan.offline = plan.offline if missing else ""
        return plan
    plan.offline = ""
    plan.gone = missing
    plan.healed = [p for p in failed if p not in seen and not _inside(p, unlisted)]
    return plan


def _compare(
    plan: RootPlan,
    ref: ImageRef,
    known: FileState | None,
    failed: tuple[int, int] | None,
    options: PlanOptions,
) -> None:
    stamp = (ref.size, ref.mtime_ns)
    if known is not None and (known.size, known.mtime_ns) == stamp:
        if known.id not in options.recheck:
            plan.unchanged += 1
            return
    elif failed == stamp and not options.retry_failed:
        plan.known_failures += 1
        return
    plan.todo.append((ref, known))


def absence(path: str) -> str:
    """Why nothing of a root may be dropped: it is not there, or is empty. "" where it is there."""
    if not os.path.isdir(path):
        return "is not there"
    try:
        return "" if os.listdir(path) else "is empty"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _scan_options(target: Target, index: str) -> ScanOptions:
    root = target.root
    return ScanOptions(
        exclude=tuple(_globs(root.scanning)),
        include_hidden=bool(root.scanning.get("include_hidden", False)),
        skip_dirs=(os.path.realpath(index),),
        prefix=target.prefix,
    )
