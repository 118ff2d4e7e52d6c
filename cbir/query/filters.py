"""Where-terms: which images of the gallery may be returned at all.

    column=value[,value...]   one of these values          split=train,val
    column!=value[,value...]  none of these values; an image without the column passes
    column>=number            also > < <=; an image whose value is no number does not pass
    column~GLOB               * ? [..], case-sensitive; for path, "*" also spans "/"

Columns are those of the metadata and four of the gallery itself: path (relative to its folder),
format (JPEG, PNG, ...), width and height (pixels); metadata of those names hides them. Several
terms are and-ed. A comma separates values, so a value cannot hold one; use column~GLOB for such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from cbir.catalog import Catalog, FileRow
from cbir.errors import UsageError
from cbir.types import Ids

OWN_COLUMNS: Mapping[str, Callable[[FileRow], str]] = {
    "path": lambda row: row.path,
    "format": lambda row: row.format,
    "width": lambda row: str(row.width),
    "height": lambda row: str(row.height),
}
_TERM = re.compile(r"\s*([^=!<>~]+?)\s*(!=|>=|<=|=|>|<|~)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a column, an operator and its values (one, save for = and !=)."""

    column: str
    operator: str
    values: tuple[str, ...]

    def passes(self, value: str | None) -> bool:
        """Whether an image with this value (None: it has none) passes."""
        if self.operator == "!=":
            return value not in self.values
        if value is None:
            return False
        if self.operator == "=":
            return value in self.values
        if self.operator == "~":
            return fnmatchcase(value, self.values[0])
        try:
            number, bound = float(value), float(self.values[0])
        except ValueError:
            return False
        return bool(_COMPARE[self.operator](number, bound))


_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


def parse_term(text: str) -> Term:
    """A where-term from its text; UsageError where it is none."""
    found = _TERM.fullmatch(text)
    if found is None:
        raise UsageError(
            "where: expected column=value[,value...], column!=value, column>=number (or > < <=) "
            f"or column~GLOB; received {text!r}."
        )
    column, operator, rest = found[1], found[2], found[3].strip()
    if operator in _COMPARE:
        try:
            float(rest)
        except ValueError:
            raise UsageError(
                f"where: expected a number after {operator}; received {rest!r} in {text!r}."
            ) from None
    split = operator in {"=", "!="}
    values = tuple(part.strip() for part in rest.split(",")) if split else (rest,)
    return Term(column, operator, values)


Table = Mapping[int, Mapping[str, str]]
"""Image id → metadata columns."""


def allowed_ids(catalog: Catalog, where: Sequence[str], extra: Table | None = None) -> Ids | None:
    """Ids of the images that pass all terms, int64 (n,) sorted; None where there are no terms.

    `extra` is metadata for this one search; its columns hide stored ones of the same name.
    Raises UsageError for a text that is no term, or a column that does not exist.
    """
    terms = [parse_term(text) for text in where]
    if not terms:
        return None
    _check_columns(catalog, terms, extra)
    passing = set(catalog.ids().tolist())
    for term in terms:
        stored = _in_table(term.column, extra) or term.column in catalog.columns()
        if term.column in OWN_COLUMNS and not stored:
            read = OWN_COLUMNS[term.column]
            kept = {row.id for row in catalog.rows(sorted(passing)) if term.passes(read(row))}
        else:
            values = _values(catalog, term.column, extra)
            kept = {image for image in passing if term.passes(values.get(image))}
        passing = kept
    return np.array(sorted(passing), np.int64)


def _values(catalog: Catalog, column: str, extra: Table | None) -> Mapping[int, str]:
    if _in_table(column, extra):
        return {i: columns[column] for i, columns in (extra or {}).items() if column in columns}
    return catalog.column(column)


def _in_table(column: str, extra: Table | None) -> bool:
    return extra is not None and any(column in columns for columns in extra.values())


def _check_columns(catalog: Catalog, terms: Sequence[Term], extra: Table | None) -> None:
    known = {*OWN_COLUMNS, *catalog.columns()}
    for columns in (extra or {}).values():
        known.update(columns)
    for term in terms:
        if term.column not in known:
            raise UsageError(
                f"where: expected one of the columns {', '.join(sorted(known))}; received "
                f"{term.column!r}. Columns beyond path, format, width and height come from a CSV: "
                "--metadata FILE."
            )
