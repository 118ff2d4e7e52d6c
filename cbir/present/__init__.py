"""Everything that people look at: tables, records for other programs, pages, contact sheets.

Functions over rankings that print nothing: pages and sheets read the pictures they show, the
`write_...` functions write a file, and nothing else touches the disk. Names are resolved on first
use, and Pillow and Jinja imported where they are used, so that importing this room stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbir.present.files import write_parts, write_whole
    from cbir.present.html import PageOptions, page, write_page
    from cbir.present.names import visible
    from cbir.present.numbers import count, counts, human_duration, human_size, percent
    from cbir.present.records import to_csv, to_json, to_jsonl, to_paths
    from cbir.present.sheet import SheetOptions, contact_sheet, write_sheet
    from cbir.present.text import columns, failures_table, pairs, table
    from cbir.present.thumbnails import data_uri, thumbnail

_HOME = {
    "PageOptions": "html",
    "SheetOptions": "sheet",
    "columns": "text",
    "contact_sheet": "sheet",
    "count": "numbers",
    "counts": "numbers",
    "data_uri": "thumbnails",
    "failures_table": "text",
    "human_duration": "numbers",
    "human_size": "numbers",
    "page": "html",
    "pairs": "text",
    "percent": "numbers",
    "table": "text",
    "thumbnail": "thumbnails",
    "to_csv": "records",
    "to_json": "records",
    "to_jsonl": "records",
    "to_paths": "records",
    "visible": "names",
    "write_page": "html",
    "write_parts": "files",
    "write_sheet": "sheet",
    "write_whole": "files",
}

__all__ = [
    "PageOptions",
    "SheetOptions",
    "columns",
    "contact_sheet",
    "count",
    "counts",
    "data_uri",
    "failures_table",
    "human_duration",
    "human_size",
    "page",
    "pairs",
    "percent",
    "table",
    "thumbnail",
    "to_csv",
    "to_json",
    "to_jsonl",
    "to_paths",
    "visible",
    "write_page",
    "write_parts",
    "write_sheet",
    "write_whole",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"cbir.present.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
