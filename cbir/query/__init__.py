"""Asking an index: example images, filters, several examples as one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbir.query.algebra import combine
    from cbir.query.examples import Example, own_embedder, saved_folder
    from cbir.query.filters import allowed_ids, parse_term
    from cbir.query.match import Calibration
    from cbir.query.metadata import find_file, match_metadata, read_csv, read_sidecar, spellings
    from cbir.query.searcher import Index
    from cbir.query.state import State, load_state

_HOME = {
    "Calibration": "match",
    "Example": "examples",
    "Index": "searcher",
    "State": "state",
    "allowed_ids": "filters",
    "combine": "algebra",
    "find_file": "metadata",
    "load_state": "state",
    "match_metadata": "metadata",
    "own_embedder": "examples",
    "parse_term": "filters",
    "read_csv": "metadata",
    "read_sidecar": "metadata",
    "saved_folder": "examples",
    "spellings": "metadata",
}

__all__ = [
    "Calibration",
    "Example",
    "Index",
    "State",
    "allowed_ids",
    "combine",
    "find_file",
    "load_state",
    "match_metadata",
    "own_embedder",
    "parse_term",
    "read_csv",
    "read_sidecar",
    "saved_folder",
    "spellings",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"cbir.query.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
