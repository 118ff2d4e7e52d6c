"""Reading the catalog: the truth about roots, files, features and generations.

A `Catalog` is one SQLite connection. Readers never block the writer, nor the writer them (WAL).
In a place that cannot be written, SQLite's `immutable` mode is used; a write-ahead log that was
left there is honoured by reading from a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from cbir.catalog.halves import blob_size, from_blobs
from cbir.catalog.records import EmbedderRow, FileRow, FileState, Generation, Root
from cbir.catalog.schema import check_version
from cbir.errors import IndexDamagedError, IndexMissingError, OperationFailedError
from cbir.types import Failure, Ids, Vectors

FILE_NAME = "catalog.sqlite"
MADE = "search:"
"""Settings of this name and a generation's id: what was made and measured of its search index."""
CHUNK = 4096
"""Rows read at a time: bounds memory, and stays below SQLite's limit of bound values."""


def catalog_path(index: str) -> str:
    """Where the catalog of an index folder is."""
    return os.path.join(index, FILE_NAME)


@contextmanager
def sqlite_errors(path: str) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises OperationFailedError (disk full, not writable), IndexDamagedError (not a database).
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a fault of ours, not of the file
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise OperationFailedError(
                f"{path} is held by another program ({error}). Close what has it open, then run "
                "the command again: what was committed is kept."
            ) from error
        raise OperationFailedError(
            f"{path}: {error}. Check free space and permissions, then run the command again: "
            "what was committed is kept."
        ) from error
    except sqlite3.DatabaseError as error:
        raise IndexDamagedError(
            f"{path} is damaged ({error}). Restore a backup, or remove the index folder and index "
            "again."
        ) from error


_EMBEDDED = (
    "FROM contents c JOIN features t ON t.content = c.id AND t.embedder = ? "
    "WHERE EXISTS (SELECT 1 FROM files f WHERE f.content = c.id)"
)


class Catalog:
    """A reader of the catalog in the index folder `index`. Use as a context manager."""

    def __init__(self, index: str) -> None:
        """Raises IndexMissingError, IndexIncompatibleError, IndexDamagedError."""
        self.index = os.path.abspath(index)
        self.path = catalog_path(self.index)
        if not os.path.isfile(self.path):
            raise IndexMissingError(
                f"No index at {self.index}: expected a folder with {FILE_NAME}. "
                f"Make it with `cbir index FOLDER -i {index}`."
            )
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        with sqlite_errors(self.path):
            self.db = self._connect()
            try:
                check_version(self.db, self.path)
            except BaseException:
                self.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        """Open for reading, also where the folder cannot be written."""
        db = connect(self.path, "mode=ro")
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
            return db
        except sqlite3.OperationalError:
            db.close()
            effective = os.access in os.supports_effective_ids
            if os.access(self.index, os.W_OK, effective_ids=effective):
                raise
        except sqlite3.DatabaseError:
            return db  # no database at all: `check_version` says so
        for _ in range(3):
            try:
                return self._connect_read_only()
            except FileNotFoundError:
                continue  # a writer folded its log in just now
        return connect(self.path, "mode=ro&immutable=1")

    def _connect_read_only(self) -> sqlite3.Connection:
        """Where nothing can be written, a log that was left there included."""
        wal = self.path + "-wal"
        if not (os.path.exists(wal) and os.path.getsize(wal) > 0):
            return connect(self.path, "mode=ro&immutable=1")
        copy = tempfile.TemporaryDirectory(prefix="cbir-catalog-")
        try:
            for name in (FILE_NAME, FILE_NAME + "-wal"):
                shutil.copy(os.path.join(self.index, name), os.path.join(copy.name, name))
        except BaseException:
            copy.cleanup()
            raise
        self._copy = copy
        return connect(os.path.join(copy.name, FILE_NAME), "mode=rw")

    def close(self) -> None:
        """Release the database."""
        self.db.close()
        if self._copy is not None:
            self._copy.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One read transaction: everything inside sees the same state."""
        with sqlite_errors(self.path):
            self.db.execute("BEGIN")
            try:
                yield
            finally:
                if self.db.in_transaction:
                    self.db.execute("COMMIT")

    # -- settings, roots, embedders, generations -------------------------------------------------

    def setting(self, key: str) -> Any:
        """The stored value (from JSON), None where there is none."""
        row = self.db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    @property
    def seq(self) -> int:
        """The number of the last change."""
        return int(self.setting("seq") or 0)

    def roots(self) -> list[Root]:
        """All folders that are kept in the index, by path."""
        rows = self.db.execute("SELECT id, path, scanning FROM roots ORDER BY path")
        return [Root(i, os.fsdecode(p), json.loads(s)) for i, p, s in rows]

    def embedder(self, fingerprint: str | None = None) -> EmbedderRow | None:
        """The embedder with this fingerprint; without one, the index's own."""
        wanted = fingerprint or self.setting("embedder")
        row = self.db.execute(
            "SELECT id, fingerprint, spec, feature_dims FROM embedders WHERE fingerprint = ?",
            (wanted,),
        ).fetchone()
        return None if row is None else EmbedderRow(*row)

    def embedders(self) -> list[EmbedderRow]:
        """All embedders whose features may be kept here, the oldest first."""
        rows = self.db.execute(
            "SELECT id, fingerprint, spec, feature_dims FROM embedders ORDER BY id"
        )
        return [EmbedderRow(*row) for row in rows]

    def embedder_of(self, generation: Generation) -> EmbedderRow | None:
        """The embedder whose features a generation is made of."""
        row = self.db.execute(
            "SELECT id, fingerprint, spec, feature_dims FROM embedders WHERE id = ?",
            (generation.embedder,),
        ).fetchone()
        return None if row is None else EmbedderRow(*row)

    def generation(self, number: int | None = None) -> Generation | None:
        """The live generation, or the one with this id."""
        chosen, values = ("state = 'live'", ()) if number is None else ("id = ?", (number,))
        row = self.db.execute(
            "SELECT id, state, embedder, spec, projection, fitted, created FROM generations "
            f"WHERE {chosen} ORDER BY id DESC LIMIT 1",
            values,
        ).fetchone()
        return None if row is None else Generation(*row)

    def former(self) -> Generation | None:
        """The generation that was live before another embedder was adopted, where it is kept."""
        number = self.setting("former")
        return None if number is None else self.generation(int(number))

    def live(self) -> int | None:
        """The id of the live generation: quicker than all that it holds."""
        row = self.db.execute(
            "SELECT id FROM generations WHERE state = 'live' ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])

    def now(self) -> tuple[int | None, int]:
        """`live()` and `seq` at once: what an open index asks before each search."""
        row = self.db.execute(
            "SELECT (SELECT id FROM generations WHERE state = 'live' ORDER BY id DESC LIMIT 1), "
            "(SELECT value FROM settings WHERE key = 'seq')"
        ).fetchone()
        return row[0], int(row[1] or 0)

    def calibration(self, generation: int) -> bytes | None:
        """What `Calibration.to_bytes` made for this generation; None where nothing is stored."""
        row = self.db.execute(
            "SELECT calibration FROM generations WHERE id = ?", (generation,)
        ).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def made(self, generation: int) -> Any:
        """What was made and measured of this generation's search index, as `put_made` stored it;
        None where nothing was (before there were kinds to choose from)."""
        return self.setting(f"{MADE}{generation}")

    # -- files -----------------------------------------------------------------------------------

    def count(self) -> int:
        """Images in the gallery."""
        return int(self.db.execute("SELECT count(*) FROM files").fetchone()[0])

    def count_contents(self) -> int:
        """Different contents in the gallery."""
        row = self.db.execute("SELECT count(DISTINCT content) FROM files").fetchone()
        return int(row[0])

    def states(self, root: int) -> dict[str, FileState]:
        """Relative path → what is known of the file, for one root."""
        rows = self.db.execute(
            "SELECT id, path, size, mtime_ns, content FROM files WHERE root = ?", (root,)
        )
        made = (FileState(i, os.fsdecode(p), s, m, c) for i, p, s, m, c in rows)
        return {state.path: state for state in made}

    def failed(self, root: int) -> dict[str, tuple[int, int]]:
        """Relative path → (size, mtime_ns) of the files of one root that could not be used."""
        rows = self.db.execute("SELECT path, size, mtime_ns FROM failures WHERE root = ?", (root,))
        return {os.fsdecode(path): (size, mtime) for path, size, mtime in rows}

    def failures(self) -> list[Failure]:
        """All files that could not be used, with reasons, by path."""
        rows = self.db.execute(
            "SELECT r.path, f.path, f.reason FROM failures f JOIN roots r ON r.id = f.root "
            "ORDER BY r.path, f.path"
        )
        return [Failure(_absolute(r, p), reason) for r, p, reason in rows]

    def rows(self, ids: Sequence[int] | None = None) -> Iterator[FileRow]:
        """The images with these ids (unknown ids are left out); None: all, by id."""
        select = (
            "SELECT f.id, r.path, f.path, c.hash, c.width, c.height, c.format FROM files f "
            "JOIN roots r ON r.id = f.root JOIN contents c ON c.id = f.content "
        )
        for row in self._select(select, "f.id", ids):
            yield FileRow(
                row[0], os.fsdecode(row[1]), os.fsdecode(row[2]), _absolute(row[1], row[2]),
                *row[3:],
            )  # fmt: skip

    def id_of(self, root: int, path: str) -> int | None:
        """The id of the file at this relative path."""
        row = self.db.execute(
            "SELECT id FROM files WHERE root = ? AND path = ?", (root, os.fsencode(path))
        ).fetchone()
        return None if row is None else int(row[0])

    def hashes_of(self, ids: Sequence[int]) -> set[bytes]:
        """The content hashes of these images."""
        select = "SELECT c.hash FROM files f JOIN contents c ON c.id = f.content "
        return {row[0] for row in self._select(select, "f.id", ids)}

    def ids_of_content(self, content: bytes) -> list[int]:
        """The ids of all files with this content hash."""
        rows = self.db.execute(
            "SELECT f.id FROM files f JOIN contents c ON c.id = f.content WHERE c.hash = ? "
            "ORDER BY f.id",
            (content,),
        )
        return [row[0] for row in rows]

    def ids(self, above: int = -1) -> Ids:
        """Ids of all images whose last change has a seq larger than `above`, int64 (n,)."""
        rows = self.db.execute("SELECT id FROM files WHERE seq > ? ORDER BY id", (above,))
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def removed(self, above: int) -> Ids:
        """Ids that were removed by changes with a seq larger than `above`, int64 (n,)."""
        rows = self.db.execute("SELECT id FROM removed WHERE seq > ? ORDER BY id", (above,))
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def metadata(self, ids: Sequence[int]) -> dict[int, dict[str, str]]:
        """Image id → its metadata columns (the label among them), for ids that have any."""
        found: dict[int, dict[str, str]] = {}
        select = "SELECT file, name, value FROM metadata "
        for file, name, value in self._select(select, "file", ids):
            found.setdefault(file, {})[name] = value
        return found

    def column(self, name: str) -> dict[int, str]:
        """Image id → value of one metadata column, for ids that have it."""
        rows = self.db.execute("SELECT file, value FROM metadata WHERE name = ?", (name,))
        return dict(rows.fetchall())

    def columns(self) -> list[str]:
        """Names of all metadata columns."""
        rows = self.db.execute("SELECT DISTINCT name FROM metadata ORDER BY name")
        return [row[0] for row in rows]

    # -- features --------------------------------------------------------------------------------

    def has_feature(self, content: bytes, embedder: int) -> bool:
        """Whether this content's feature by this embedder is stored."""
        row = self.db.execute(
            "SELECT 1 FROM features t JOIN contents c ON c.id = t.content "
            "WHERE c.hash = ? AND t.embedder = ?",
            (content, embedder),
        ).fetchone()
        return row is not None

    def content_feature(self, embedder: EmbedderRow, content: bytes) -> Vectors | None:
        """The stored feature of a content by its hash, float32 (f,); None where there is none."""
        row = self.db.execute(
            "SELECT t.content, t.feature FROM features t JOIN contents c ON c.id = t.content "
            "WHERE c.hash = ? AND t.embedder = ?",
            (content, embedder.id),
        ).fetchone()
        if row is None:
            return None
        _, features = next(self._blocks(iter([row]), embedder.feature_dims))
        return np.asarray(features[0], np.float32)

    def without_feature(self, embedder: int) -> list[int]:
        """Ids of the images whose feature by this embedder is not stored, rising."""
        rows = self.db.execute(
            "SELECT f.id FROM files f WHERE NOT EXISTS (SELECT 1 FROM features t WHERE t.content = "
            "f.content AND t.embedder = ?) ORDER BY f.id",
            (embedder,),
        )
        return [row[0] for row in rows]

    def with_feature(self, embedder: int) -> Ids:
        """Ids of the images whose feature by this embedder is stored, int64 (n,), rising."""
        missing = np.array(self.without_feature(embedder), np.int64)
        return np.setdiff1d(self.ids(), missing, assume_unique=True)

    def features(
        self, embedder: EmbedderRow, ids: Sequence[int] | None = None
    ) -> Iterator[tuple[Ids, Vectors]]:
        """Stored features of the images with these ids (None: all), in blocks by id.

        Yields int64 (n,) and float32 (n, f), n ≤ 4096.
        """
        select = (
            "SELECT f.id, t.feature FROM files f "
            f"JOIN features t ON t.content = f.content AND t.embedder = {int(embedder.id)} "
        )
        yield from self._blocks(self._select(select, "f.id", ids), embedder.feature_dims)

    def count_embedded(self, embedder: EmbedderRow) -> int:
        """How many different contents are in the gallery and have a feature."""
        return int(self.db.execute(f"SELECT count(*) {_EMBEDDED}", (embedder.id,)).fetchone()[0])

    def content_hashes(self, embedder: EmbedderRow) -> Iterator[tuple[int, bytes]]:
        """Every content that is in the gallery and has a feature: row id and hash, by hash."""
        yield from self.db.execute(
            f"SELECT c.id, c.hash {_EMBEDDED} ORDER BY c.hash", (embedder.id,)
        )

    def content_features(
        self, embedder: EmbedderRow, contents: Sequence[int]
    ) -> Iterator[tuple[Ids, Vectors]]:
        """As `features`, but by row ids of contents."""
        select = f"SELECT content, feature FROM features WHERE embedder = {int(embedder.id)} AND "
        yield from self._blocks(
            self._select(select, "content", contents, word=""), embedder.feature_dims
        )

    def _blocks(self, rows: Iterator[tuple[Any, ...]], dims: int) -> Iterator[tuple[Ids, Vectors]]:
        ids: list[int] = []
        blobs: list[bytes] = []
        for key, blob in rows:
            if len(blob) != blob_size(dims):
                raise IndexDamagedError(
                    f"{self.path}: the feature of image {key} has {len(blob)} bytes; expected "
                    f"{blob_size(dims)}. Run `cbir check --repair`."
                )
            ids.append(key)
            blobs.append(blob)
            if len(ids) == CHUNK:
                yield _block(ids, blobs, dims)
                ids, blobs = [], []
        if ids:
            yield _block(ids, blobs, dims)

    def _select(
        self, select: str, column: str, ids: Sequence[int] | None, word: str = "WHERE"
    ) -> Iterator[tuple[Any, ...]]:
        """Run a select for these ids in chunks, or for all rows; ordered by the id column."""
        if ids is None:
            yield from self.db.execute(f"{select} ORDER BY {column}")
            return
        for start in range(0, len(ids), CHUNK):
            chunk = [int(i) for i in ids[start : start + CHUNK]]
            marks = ",".join("?" * len(chunk))
            yield from self.db.execute(
                f"{select} {word} {column} IN ({marks}) ORDER BY {column}", chunk
            )


def connect(path: str, parameters: str) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun by hand, so none is by accident."""
    uri = f"file:{quote(Path(path).as_posix(), safe='/:', errors='surrogateescape')}?{parameters}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30, check_same_thread=False)
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _block(ids: list[int], blobs: list[bytes], dims: int) -> tuple[Ids, Vectors]:
    return np.array(ids, np.int64), from_blobs(blobs, dims)


def _absolute(root: bytes, path: bytes) -> str:
    return os.path.join(os.fsdecode(root), *os.fsdecode(path).split("/"))
