"""Metadata from a sidecar CSV: a column `path`, and any others.

Paths are relative to the CSV's own folder (or absolute). The file is UTF-8, with or without a
byte-order mark.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field

from cbir.catalog import Catalog
from cbir.errors import UsageError


@dataclass(frozen=True, slots=True)
class Metadata:
    """Rows that were matched to images (id → columns), and paths that are in no gallery."""

    rows: dict[int, dict[str, str]] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


def read_csv(file: str) -> list[tuple[str, dict[str, str]]]:
    """Absolute path and columns of each row; UsageError where the CSV is not as expected."""
    folder = os.path.dirname(os.path.abspath(file))
    try:
        with open(file, encoding="utf-8-sig", newline="", errors="surrogateescape") as opened:
            lines = list(csv.reader(opened, strict=True))
    except OSError as error:
        raise UsageError(f"metadata: {file} cannot be read ({error.strerror}).") from None
    except csv.Error as error:
        raise UsageError(f"metadata: {file} is not a CSV file ({error}).") from None
    header = [name.strip() for name in lines[0]] if lines else []
    if "path" not in header or len(set(header)) != len(header) or "" in header:
        raise UsageError(
            f"metadata: expected a first line with different column names, one of them path, in "
            f"{file}; received {','.join(header) or 'nothing'}."
        )
    at = header.index("path")
    table = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(header):
            raise UsageError(
                f"metadata: expected {len(header)} values in line {number} of {file}; received "
                f"{len(line)}."
            )
        columns = {name: value for name, value in zip(header, line, strict=True) if name != "path"}
        table.append((os.path.join(folder, line[at]), columns))
    return table


def match_metadata(catalog: Catalog, file: str) -> Metadata:
    """Read a CSV and find its images in the gallery."""
    rows: dict[int, dict[str, str]] = {}
    unmatched = []
    for path, columns in read_csv(file):
        image = find_file(catalog, path)
        if image is None:
            unmatched.append(path)
        else:
            rows[image] = columns
    return Metadata(rows, tuple(unmatched))


def find_file(catalog: Catalog, file: str) -> int | None:
    """The id of an indexed file, by its path however it is spelt; None where it is not indexed."""
    folder, name = os.path.split(os.path.abspath(file))
    spellings = (os.path.join(os.path.realpath(folder), name), os.path.realpath(file))
    for root in catalog.roots():
        start = os.path.join(root.path, "")
        for spelling in spellings:
            if spelling.startswith(start):
                relative = spelling[len(start) :].replace(os.sep, "/")
                image = catalog.id_of(root.id, relative)
                if image is not None:
                    return image
    return None
