"""Metadata from a sidecar CSV: a column `path`, and any others.

Paths are relative to the CSV's own folder (or absolute). The file is UTF-8, with or without a
byte-order mark.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from functools import lru_cache

from cbir.catalog import Catalog
from cbir.errors import UsageError


@dataclass(frozen=True, slots=True)
class Metadata:
    """Rows that were matched to images (id → columns), and paths that are in no gallery."""

    rows: dict[int, dict[str, str]] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A CSV about pictures: its header, and each row's absolute path and text by column.

    The column `path` is there as the file has it; paths are not normalised.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, str]], ...]


def read_sidecar(file: str, what: str = "metadata") -> Sidecar:
    """Read a CSV with a column `path` and others; `what` names it in messages.

    Raises UsageError where it cannot be read, is no UTF-8 text or no CSV, or a row is uneven.
    """
    folder = os.path.dirname(os.path.abspath(file))
    lines = _lines(file, what)
    header = [name.strip() for name in lines[0]] if lines else []
    if "path" not in header or len(set(header)) != len(header) or "" in header:
        raise UsageError(
            f"{what}: expected a first line with different column names, one of them path, in "
            f"{file}; received {','.join(header) or 'nothing'}."
        )
    place = header.index("path")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(header):
            raise UsageError(
                f"{what}: expected {len(header)} values in line {number} of {file}; received "
                f"{len(line)}."
            )
        columns = {
            name: value if name == "path" else value.strip()
            for name, value in zip(header, line, strict=True)
        }
        rows.append((os.path.join(folder, line[place]), columns))
    return Sidecar(tuple(header), tuple(rows))


def _lines(file: str, what: str) -> list[list[str]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            text = opened.read()
        if "\0" in text:
            raise UsageError(f"{what}: {file} holds a NUL; expected text. Save it as UTF-8.")
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise UsageError(f"{what}: {file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        at = error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{what}: expected UTF-8 text in {file}; line {at} is not. Save it as "
            '"CSV UTF-8" where it was made.'
        ) from None
    except csv.Error as error:
        raise UsageError(f"{what}: {file} is not a CSV file ({error}).") from None


def read_csv(file: str) -> list[tuple[str, dict[str, str]]]:
    """Absolute path and columns of each row; UsageError where the CSV is not as expected."""
    return [
        (path, {name: value for name, value in columns.items() if name != "path"})
        for path, columns in read_sidecar(file).rows
    ]


def match_metadata(catalog: Catalog, file: str) -> Metadata:
    """Read a CSV and find its images in the gallery."""
    rows: dict[int, dict[str, str]] = {}
    unmatched = []
    _folders.cache_clear()
    for path, columns in read_csv(file):
        image = _find(catalog, path)
        if image is None:
            unmatched.append(path)
        else:
            rows[image] = columns
    return Metadata(rows, tuple(unmatched))


def find_file(catalog: Catalog, file: str) -> int | None:
    """The id of an indexed file, by its path however it is spelt; None where it is not indexed."""
    _folders.cache_clear()
    return _find(catalog, file)


def _find(catalog: Catalog, file: str) -> int | None:
    roots = [(root.id, os.path.join(root.path, "")) for root in catalog.roots()]
    for spelling in spellings(file):
        for root, start in roots:
            if spelling.startswith(start):
                relative = spelling[len(start) :].replace(os.sep, "/")
                image = catalog.id_of(root, relative)
                if image is not None:
                    return image
    return None


def spellings(file: str) -> list[str]:
    """A path as it was given, then with more and more of its links followed.

    A root is known by its real path, but what lies behind a link inside it by the link's.
    """
    folder, name = os.path.split(os.path.abspath(file))
    made = [os.path.join(spelt, name) for spelt in _folders(folder)]
    return [*made, os.path.realpath(file)]


@lru_cache(maxsize=4096)
def _folders(folder: str) -> tuple[str, ...]:
    found = [folder]
    ancestor, rest = folder, ""
    while True:
        found.append(os.path.join(os.path.realpath(ancestor), rest) if rest else
                     os.path.realpath(ancestor))  # fmt: skip
        above, part = os.path.split(ancestor)
        if above == ancestor:
            break
        ancestor, rest = above, os.path.join(part, rest) if rest else part
    return tuple(dict.fromkeys([folder, *reversed(found)]))
