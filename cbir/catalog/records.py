"""The rows that go in and out of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cbir.types import ImageRef, Vectors


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept in the index. `path` is absolute, `scanning` how it is scanned."""

    id: int
    path: str
    scanning: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FileState:
    """What the catalog knows of a file: enough to see whether it changed."""

    id: int
    path: str
    size: int
    mtime_ns: int
    content: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """An image of the gallery with all that is known of it. `file` is the absolute path."""

    id: int
    root: str
    path: str
    file: str
    content: bytes
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class NewContent:
    """A picture's content to store: hash, size, format and its feature, float32 (f,)."""

    hash: bytes
    width: int
    height: int
    format: str
    feature: Vectors


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to store: new (id None), changed or moved (the id it keeps)."""

    root: int
    ref: ImageRef
    content: bytes
    id: int | None = None


@dataclass(frozen=True, slots=True)
class EmbedderRow:
    """An embedder that made features kept here. `spec` is its canonical JSON."""

    id: int
    fingerprint: str
    spec: str
    feature_dims: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One consistent derived state: which projection, which index kind, fitted on how many."""

    id: int
    state: str
    embedder: int | None
    spec: str
    projection: bytes | None
    fitted: int
    created: str
