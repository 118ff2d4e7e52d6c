"""Everything that people look at: tables, records for other programs, pages, contact sheets.

Functions over rankings that print nothing: pages and sheets read the pictures they show, the
`write_...` functions write a file, and nothing else touches the disk. Pillow and Jinja are imported
where they are used, not here.
"""

from cbir.present.compare_page import ComparedSystem, ComparePage, compare_page
from cbir.present.files import write_whole
from cbir.present.html import PageOptions, page, write_page
from cbir.present.names import visible
from cbir.present.numbers import count, counts, human_duration, human_size, percent
from cbir.present.records import to_csv, to_json, to_jsonl, to_paths
from cbir.present.sheet import SheetOptions, contact_sheet, write_sheet
from cbir.present.text import columns, failures_table, pairs, table
from cbir.present.thumbnails import data_uri, thumbnail

__all__ = [
    "ComparePage",
    "ComparedSystem",
    "PageOptions",
    "SheetOptions",
    "columns",
    "compare_page",
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
    "write_sheet",
    "write_whole",
]
