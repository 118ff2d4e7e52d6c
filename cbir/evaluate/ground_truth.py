"""What is relevant to what: labels of folders or of a manifest, landmark files, groups of n.

Every source becomes the same `Truth`: pictures, which of them are the gallery, and for each query
which of the gallery are relevant and which are junk (neither right nor wrong: taken out of the
ranking). The query itself, where it is in the gallery, is named by its position, and so is removed
by identity, never by rank.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cbir.errors import UsageError
from cbir.images import scan
from cbir.query import parse_term, read_sidecar
from cbir.types import Ids

Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One query: a picture, perhaps a part of it, and what it should find.

    `image` is the position of the picture; `relevant` and `junk` are positions in the gallery,
    int64, rising; `own` is the query's own position in the gallery, None where it is not there.
    """

    image: int
    relevant: Ids
    junk: Ids
    own: int | None = None
    crop: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Pictures and queries of one protocol.

    `paths` are absolute, of all pictures; `gallery` the positions of those in the gallery, int64
    (n,); `labels` one for each picture ("" where there are none). Positions in `Query` count
    within the gallery. `groups` is the size of a group where n files each show one thing, else 0.
    """

    name: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    gallery: Ids
    queries: tuple[Query, ...]
    groups: int = 0

    @property
    def without_relevant(self) -> int:
        """Queries that no image of the gallery is relevant to: counted, and left out of means."""
        return sum(1 for query in self.queries if not len(query.relevant))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a manifest: absolute path and all columns."""

    path: str
    columns: Mapping[str, str]


def read_manifest(file: str, label: str | None = "label") -> list[Row]:
    """The rows of a CSV with the columns `path` and `label`; paths are relative to its folder.

    `label` names the column that has the labels; None: none is needed. Raises UsageError where a
    column is missing, a path comes twice, or the file is no CSV or no UTF-8 text.
    """
    table = read_sidecar(file, "manifest")
    if label is not None and label not in table.header:
        raise UsageError(
            f"manifest: expected the columns path and {label} in {file}; received "
            f"{', '.join(table.header)}."
        )
    made = [Row(os.path.normpath(path), columns) for path, columns in table.rows]
    seen: set[str] = set()
    for row in made:
        if row.path in seen:
            raise UsageError(
                f"manifest: expected each path once in {file}; {row.path} comes twice."
            )
        seen.add(row.path)
    return made


def from_manifest(
    file: str,
    query_where: Sequence[str] = (),
    gallery_where: Sequence[str] = (),
    label: str = "label",
) -> Truth:
    """Images of one label are relevant to each other; `label` names its column.

    Without `query_where` every image of the gallery is a query, and is left out of its own answer
    (leave one out). Terms are those of `cbir query --where`.
    """
    rows = read_manifest(file, label)
    gallery = chosen_rows(rows, gallery_where)
    queries = chosen_rows(rows, query_where) if query_where else gallery
    used = sorted({*queries, *gallery})  # no other picture is looked at
    place = {row: i for i, row in enumerate(used)}
    name = os.path.basename(os.path.dirname(os.path.abspath(file))) or file
    asked = f" {' '.join(query_where)} in {' '.join(gallery_where) or 'all'}" if query_where else ""
    return from_labels(
        f"{name}{asked or ', leave one out'}",
        [rows[i].path for i in used],
        [rows[i].columns[label] for i in used],
        ([place[i] for i in queries], [place[i] for i in gallery]),
    )


def chosen_rows(rows: Sequence[Row], where: Sequence[str]) -> list[int]:
    """Positions of the rows that pass all terms; UsageError where a column is not there, or none
    passes."""
    terms = [parse_term(text) for text in where]
    for term in terms:
        if rows and term.column not in rows[0].columns:
            raise UsageError(
                f"where: expected one of the columns {', '.join(rows[0].columns)}; received "
                f"{term.column!r}."
            )
    found = [
        i
        for i, row in enumerate(rows)
        if all(term.passes(row.columns.get(term.column)) for term in terms)
    ]
    if not found:
        raise UsageError(f"where: no image fits {' '.join(where) or 'the manifest'}.")
    return found


def from_folders(folder: str) -> Truth:
    """The parent folder is the label; every image is a query, left out of its own answer."""
    refs = scan(folder).refs
    if not refs:
        raise UsageError(f"Expected a folder with a folder of images for each class: {folder}.")
    everything = list(range(len(refs)))
    return from_labels(
        f"{os.path.basename(os.path.abspath(folder))}, leave one out",
        [ref.file for ref in refs],
        [os.path.dirname(ref.path) or os.path.basename(ref.root) for ref in refs],
        (everything, everything),
    )


def from_groups(folder: str, size: int = 4) -> Truth:
    """Groups of n files that follow each other by name, as UKBench has them.

    The query stays in the gallery, and counts: N-S is defined that way.
    """
    refs = scan(folder).refs
    if not refs or len(refs) % size:
        raise UsageError(
            f"groups: expected a multiple of {size} images; {folder} has {len(refs)}. Name the "
            "size of a group with --groups N."
        )
    labels = [str(i // size) for i in range(len(refs))]
    everything = np.arange(len(refs), dtype=np.int64)
    queries = tuple(
        Query(i, everything[i // size * size : (i // size + 1) * size], _none())
        for i in range(len(refs))
    )
    name = f"{os.path.basename(os.path.abspath(folder))}, groups of {size}"
    return Truth(name, tuple(r.file for r in refs), tuple(labels), everything, queries, size)


def from_labels(
    name: str,
    paths: Sequence[str],
    labels: Sequence[str],
    chosen: tuple[Sequence[int], Sequence[int]],
) -> Truth:
    """Truth from one label a picture; `chosen` are the positions of queries and of the gallery.

    A picture whose label is "" is a distractor: relevant to nothing.
    """
    queries, gallery = chosen
    places = {image: place for place, image in enumerate(gallery)}
    by_label = places_by_label([labels[image] for image in gallery])
    made = []
    for image in queries:
        own = places.get(image)
        relevant = by_label.get(labels[image], _none())
        made.append(Query(image, relevant[relevant != own] if own is not None else relevant,
                          _none(), own))  # fmt: skip
    return Truth(name, tuple(paths), tuple(labels), np.array(gallery, np.int64), tuple(made))


def places_by_label(labels: Sequence[str]) -> dict[str, Ids]:
    """Label → places of the gallery that have it, int64, rising; "" is no label."""
    members: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        if label:
            members.setdefault(label, []).append(place)
    return {label: np.array(found, np.int64) for label, found in members.items()}


def from_landmarks(file: str, difficulty: Difficulty = "medium") -> Truth:
    """A landmark file: `{"gallery": [path...], "queries": [{"image", "box", "ok" or "easy",
    "hard", "junk"}]}`, paths relative to the file's folder, box x, y, w, h in pixels or null.

    Easy: easy is relevant, hard and junk are left out; medium: easy and hard are relevant; hard:
    hard is relevant, easy and junk are left out. `ok` (Oxford and Paris as first published) is
    relevant always. Radenovic et al., Revisiting Oxford and Paris (CVPR 2018), section 3.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            data = json.load(opened)
        names, asked = list(data["gallery"]), list(data["queries"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f'landmarks: expected JSON {{"gallery": [...], "queries": [...]}} in {file}; {error}.'
        ) from None
    folder = os.path.dirname(os.path.abspath(file))
    paths = [os.path.normpath(os.path.join(folder, name)) for name in names]
    place = {name: i for i, name in enumerate(names)}
    queries = []
    for query in asked:
        image = str(query.get("image", ""))
        own = place.get(image)
        at = own if own is not None else len(paths)
        if own is None:
            paths.append(os.path.normpath(os.path.join(folder, image)))
        relevant, junk = _by_difficulty(query, place, difficulty, file)
        crop = ",".join(str(int(v)) for v in query["box"]) if query.get("box") else None
        queries.append(Query(at, _but(relevant, own), _but(junk, own), own, crop))
    gallery = np.arange(len(names), dtype=np.int64)
    title = f"{os.path.basename(file)}, {difficulty}"
    return Truth(title, tuple(paths), ("",) * len(paths), gallery, tuple(queries))


_RELEVANT = {"easy": ("ok", "easy"), "medium": ("ok", "easy", "hard"), "hard": ("ok", "hard")}
_JUNK = {"easy": ("junk", "hard"), "medium": ("junk",), "hard": ("junk", "easy")}


def _by_difficulty(
    query: Mapping[str, Any], place: Mapping[str, int], difficulty: Difficulty, file: str
) -> tuple[set[int], set[int]]:
    """Positions that are relevant, and that are junk."""
    try:
        parts = {
            key: {place[name] for name in query.get(key) or ()}
            for key in ("ok", "easy", "hard", "junk")
        }
    except KeyError as error:
        raise UsageError(f"landmarks: {error} of {file} is not in its gallery.") from None
    relevant = set().union(*(parts[key] for key in _RELEVANT[difficulty]))
    return relevant, set().union(*(parts[key] for key in _JUNK[difficulty])) - relevant


def _but(places: set[int], own: int | None) -> Ids:
    return np.array(sorted(places - {own}), np.int64)


def _none() -> Ids:
    return np.empty(0, np.int64)
