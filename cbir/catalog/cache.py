"""What benchmarks keep: features by embedder and content, what embedders learnt, what they scored.

So nothing is made twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from cbir.catalog.catalog import CHUNK, connect, sqlite_errors
from cbir.catalog.halves import from_blobs, to_blob
from cbir.errors import OperationFailedError
from cbir.machine import cache_folder
from cbir.types import Vectors

VERSION = 1


def default_cache() -> str:
    """Where the cache is: $CBIR_CACHE, else ~/.cache/cbir/features.sqlite."""
    return os.environ.get("CBIR_CACHE") or os.path.join(cache_folder(), "features.sqlite")


class FeatureCache:
    """A file of features; several processes may use it at once. Use as a context manager."""

    def __init__(self, path: str) -> None:
        """Open or make it; a file of another version is made anew, since nothing in it is lost.

        Raises OperationFailedError where it cannot be written.
        """
        self.path = os.path.abspath(path)
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as error:
            raise OperationFailedError(
                f"The folder of {self.path} cannot be made ({error.strerror}). Name another file "
                "with $CBIR_CACHE."
            ) from None
        with sqlite_errors(self.path):
            self.db = connect(self.path, "mode=rwc")
            self._prepare()

    def _prepare(self) -> None:
        self.db.execute("PRAGMA journal_mode = WAL")
        if self.db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            self.db.executescript(
                "BEGIN IMMEDIATE; DROP TABLE IF EXISTS features; DROP TABLE IF EXISTS fits; "
                "CREATE TABLE features "
                "(embedder TEXT, content BLOB, feature BLOB NOT NULL, PRIMARY KEY (embedder, "
                f"content)) WITHOUT ROWID; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        # Came later, and changes nothing of what is there: no reason to make all features again.
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS fits (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT "
            "ROWID"
        )
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS measured (embedder TEXT, data TEXT, machine TEXT, result "
            "TEXT NOT NULL, PRIMARY KEY (embedder, data, machine)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Release the file."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def get(self, fingerprint: str, contents: Sequence[bytes], dims: int) -> dict[bytes, Vectors]:
        """Content hash → feature float32 (dims,), for those that are here."""
        found: dict[bytes, Vectors] = {}
        with sqlite_errors(self.path):
            for start in range(0, len(contents), CHUNK):
                chunk = list(contents[start : start + CHUNK])
                marks = ",".join("?" * len(chunk))
                rows = self.db.execute(
                    f"SELECT content, feature FROM features WHERE embedder = ? AND content IN "
                    f"({marks})",
                    (fingerprint, *chunk),
                ).fetchall()
                if rows:
                    features = from_blobs([blob for _, blob in rows], dims)
                    found.update(zip((key for key, _ in rows), features, strict=True))
        return found

    def contents(self, fingerprint: str) -> frozenset[bytes]:
        """The contents whose feature by this embedder is here."""
        with sqlite_errors(self.path):
            rows = self.db.execute(
                "SELECT content FROM features WHERE embedder = ?", (fingerprint,)
            )
            return frozenset(row[0] for row in rows)

    def put(self, fingerprint: str, features: Mapping[bytes, Vectors]) -> None:
        """Keep features; one transaction."""
        rows: Iterable[tuple[str, bytes, bytes]] = (
            (fingerprint, key, to_blob(feature)) for key, feature in features.items()
        )
        with sqlite_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                self.db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            except sqlite3.Error:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def get_fit(self, key: str) -> bytes | None:
        """What an embedder learnt from pictures, by a key of its recipe and of the pictures."""
        with sqlite_errors(self.path):
            row = self.db.execute("SELECT data FROM fits WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_fit(self, key: str, data: bytes) -> None:
        """Keep what an embedder learnt."""
        with sqlite_errors(self.path):
            self.db.execute("INSERT OR REPLACE INTO fits VALUES (?, ?)", (key, data))

    def measured(self) -> list[str]:
        """All measurements of embedders, as texts that were put here."""
        with sqlite_errors(self.path):
            return [row[0] for row in self.db.execute("SELECT result FROM measured")]

    def put_measured(self, key: tuple[str, str, str], result: str) -> None:
        """Keep a measurement by fingerprint, data and machine; it replaces a former one."""
        with sqlite_errors(self.path):
            self.db.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?)", (*key, result))
