"""Labelled pictures to train on: from folders, from a CSV, from pairs or triplets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cbir.errors import UsageError
from cbir.evaluate.ground_truth import chosen_rows, read_manifest
from cbir.images import scan
from cbir.query import read_sidecar
from cbir.types import Failure, Ids

SAME = frozenset({"1", "true", "yes", "same"})
DIFFERENT = frozenset({"0", "false", "no", "different"})


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """n pictures, each with the name of its class.

    `paths` are absolute; `labels` one a picture, "" where nothing is known of it (it is not
    trained on with labels). `apart` are pairs of labels that someone said are different: they are
    put into one batch, where they teach most. `held` are the places of pictures that someone kept
    for validation; where there are none, a split is drawn. `failures` are folders and files that
    could not even be looked at.
    """

    name: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    apart: tuple[tuple[str, str], ...] = ()
    held: tuple[int, ...] = ()
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def classes(self) -> tuple[str, ...]:
        """The names of all classes, sorted."""
        return tuple(sorted(set(self.labels) - {""}))

    def numbers(self) -> Ids:
        """Each picture's class as its place in `classes`, int64 (n,); -1 where it has none."""
        places = {label: i for i, label in enumerate(self.classes())}
        return np.array([places.get(label, -1) for label in self.labels], np.int64)

    def take(self, rows: Sequence[int]) -> Samples:
        """Some of the pictures, in this order."""
        held = set(self.held)
        return Samples(
            self.name,
            tuple(self.paths[i] for i in rows),
            tuple(self.labels[i] for i in rows),
            self.apart,
            tuple(place for place, i in enumerate(rows) if i in held),
            self.failures,
        )


def from_folders(folder: str) -> Samples:
    """The parent folder, relative to `folder`, is the class; pictures right in `folder` have none.
    UsageError where there is no image."""
    found = scan(folder)
    refs = found.refs
    if not refs:
        raise UsageError(f"Expected a folder with a folder of images for each class: {folder}.")
    return Samples(
        os.path.basename(os.path.abspath(folder)),
        tuple(ref.file for ref in refs),
        tuple(os.path.dirname(ref.path) for ref in refs),
        failures=tuple(found.failures),
    )


def from_manifest(
    file: str,
    where: Sequence[str] = (),
    held: Sequence[str] = (),
    label: str | None = "label",
) -> Samples:
    """The rows of a CSV that pass all terms of `where`, or those of `held`: these are kept for
    validation, and count there even where both fit.

    `label` names the column with the classes, None: the pictures have none. Raises UsageError as
    `read_manifest` does, and where no row passes.
    """
    rows = read_manifest(file, label)
    kept = set(chosen_rows(rows, held)) if held else set()
    numbers = sorted(kept.union(chosen_rows(rows, where)))
    chosen = [rows[i] for i in numbers]
    return Samples(
        os.path.basename(os.path.dirname(os.path.abspath(file))) or file,
        tuple(row.path for row in chosen),
        tuple(row.columns[label] if label else "" for row in chosen),
        held=tuple(place for place, i in enumerate(numbers) if i in kept),
    )


def from_pairs(file: str) -> Samples:
    """Pairs or triplets: a CSV with the columns `path,other,same` or `path,positive,negative`.

    Pictures that belong together, directly or through others, become one class (connected
    components of the positive links); a negative link keeps two classes apart, and puts them into
    one batch. Classes that no link joins count as different, as they do in every batch of a metric
    loss. Raises UsageError where columns are missing, or two pictures are both linked and parted.
    """
    rows = read_sidecar(file, "pairs").rows
    header = set(rows[0][1]) if rows else set()
    if rows and {"positive", "negative"} <= header:
        links = [(path, _beside(file, c["positive"]), True) for path, c in rows if c["positive"]]
        links += [(path, _beside(file, c["negative"]), False) for path, c in rows if c["negative"]]
    elif rows and {"other", "same"} <= header:
        links = [(path, _beside(file, c["other"]), _same(c["same"], file)) for path, c in rows]
    else:
        raise UsageError(
            f"pairs: expected rows with the columns path,other,same or path,positive,negative in "
            f"{file}; received {', '.join(sorted(header)) or 'no rows'}."
        )
    links = [(os.path.normpath(a), b, same) for a, b, same in links]
    paths = tuple(dict.fromkeys(path for a, b, _ in links for path in (a, b)))
    leader = _components(paths, [(a, b) for a, b, same in links if same])
    names = {path: f"group {i:06d}" for i, path in enumerate(paths)}
    for a, b, same in links:
        if not same and leader[a] == leader[b]:
            raise UsageError(
                f"pairs: {file} says that {a} and {b} are different, and also, perhaps through "
                "others, that they belong together. Correct one of the two."
            )
    apart = {
        tuple(sorted((names[leader[a]], names[leader[b]]))) for a, b, same in links if not same
    }
    return Samples(
        os.path.basename(file), paths, tuple(names[leader[path]] for path in paths),
        tuple((a, b) for a, b in sorted(apart)),
    )  # fmt: skip


def _beside(file: str, path: str) -> str:
    """A path relative to the file's folder, as an absolute one."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(file)), path))


def _same(text: str, file: str) -> bool:
    word = text.strip().lower()
    if word not in SAME | DIFFERENT:
        raise UsageError(f"pairs: expected 1 or 0 in the column same of {file}; received {text!r}.")
    return word in SAME


def _components(paths: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Each path's leader: the same for all that links join, the first of them by order."""
    parent = {path: path for path in paths}
    order = {path: i for i, path in enumerate(paths)}

    def find(path: str) -> str:
        while parent[path] != path:
            parent[path] = parent[parent[path]]
            path = parent[path]
        return path

    for a, b in links:
        first, second = sorted((find(a), find(b)), key=order.__getitem__)
        parent[second] = first
    return {path: find(path) for path in paths}
