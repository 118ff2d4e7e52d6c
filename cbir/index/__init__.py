"""Vector search: index kinds by FAISS, planned, tuned, live; derived files and the writer's lock.

The names that need FAISS are resolved on first use, so that importing this room stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbir.index.builder import Made, build, folded
    from cbir.index.derived import (
        DerivedFile,
        DerivedFileError,
        derived_file,
        derived_files,
        prune_derived,
        read_derived,
        write_derived,
    )
    from cbir.index.faiss_index import FaissIndex, one_thread
    from cbir.index.kinds import KINDS
    from cbir.index.knn import neighbours
    from cbir.index.live import LiveIndex
    from cbir.index.lock import file_lock, writer_lock
    from cbir.index.planner import IndexPlan, Wanted, plan, replan
    from cbir.index.store import VectorStore
    from cbir.index.vectors import VectorFile, write_vectors

_HOME = {
    "DerivedFile": "derived",
    "DerivedFileError": "derived",
    "FaissIndex": "faiss_index",
    "IndexPlan": "planner",
    "KINDS": "kinds",
    "LiveIndex": "live",
    "Made": "builder",
    "VectorFile": "vectors",
    "VectorStore": "store",
    "Wanted": "planner",
    "build": "builder",
    "derived_file": "derived",
    "derived_files": "derived",
    "file_lock": "lock",
    "folded": "builder",
    "neighbours": "knn",
    "one_thread": "faiss_index",
    "plan": "planner",
    "prune_derived": "derived",
    "read_derived": "derived",
    "replan": "planner",
    "write_derived": "derived",
    "write_vectors": "vectors",
    "writer_lock": "lock",
}

__all__ = [
    "DerivedFile",
    "DerivedFileError",
    "FaissIndex",
    "IndexPlan",
    "KINDS",
    "LiveIndex",
    "Made",
    "VectorFile",
    "VectorStore",
    "Wanted",
    "build",
    "derived_file",
    "derived_files",
    "file_lock",
    "folded",
    "neighbours",
    "one_thread",
    "plan",
    "prune_derived",
    "read_derived",
    "replan",
    "write_derived",
    "write_vectors",
    "writer_lock",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"cbir.index.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
