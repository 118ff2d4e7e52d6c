"""The tables of `catalog.sqlite`, and the way from an older format to this one.

`seq` grows by one with every change that is committed. A row of `files` carries the seq of its last
change, `removed` the seq at which an id went; so a derived file that covers everything up to seq s
is brought up to date by the rows above s.

A file that was in the gallery and then could not be read leaves it, but its failure keeps its
former id, under which its labels and metadata stay: a file that is sound again has them back.

Paths are bytes (as the file system has them), relative to their root, with "/" between the parts.
"""

from __future__ import annotations

import sqlite3

from cbir.errors import IndexDamagedError, IndexIncompatibleError

FORMAT_VERSION = 1

TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, scanning TEXT NOT NULL DEFAULT '{}');
CREATE TABLE embedders (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, spec TEXT NOT NULL,
    feature_dims INTEGER NOT NULL);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, width INTEGER NOT NULL,
    height INTEGER NOT NULL, format TEXT NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL REFERENCES roots (id), path BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id), seq INTEGER NOT NULL,
    UNIQUE (root, path));
CREATE INDEX files_by_content ON files (content);
CREATE INDEX files_by_seq ON files (seq);
CREATE TABLE features (
    content INTEGER NOT NULL REFERENCES contents (id) ON DELETE CASCADE,
    embedder INTEGER NOT NULL REFERENCES embedders (id),
    feature BLOB NOT NULL, PRIMARY KEY (content, embedder));
CREATE TABLE failures (
    root INTEGER NOT NULL REFERENCES roots (id), path BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL, former INTEGER,
    PRIMARY KEY (root, path));
CREATE TABLE removed (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
CREATE INDEX removed_by_seq ON removed (seq);
CREATE TABLE labels (file INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE metadata (
    file INTEGER NOT NULL,
    name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (file, name)) WITHOUT ROWID;
CREATE INDEX metadata_by_name ON metadata (name, value);
CREATE TABLE feedback (
    id INTEGER PRIMARY KEY, query BLOB NOT NULL REFERENCES contents (hash),
    file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    relevant INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TABLE generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'old')),
    embedder INTEGER REFERENCES embedders (id),
    spec TEXT NOT NULL, projection BLOB, fitted INTEGER NOT NULL DEFAULT 0,
    recall REAL, calibration BLOB, created TEXT NOT NULL);
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT_VERSION}; COMMIT;")


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Refuse what this cbir cannot read.

    Raises IndexIncompatibleError (newer format) or IndexDamagedError (no catalog at all).
    """
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise IndexDamagedError(
            f"{path} is not a catalog that SQLite can read ({error}). Restore it from a backup, "
            "or remove the index folder and run `cbir index FOLDER` again."
        ) from None
    if version > FORMAT_VERSION:
        raise IndexIncompatibleError(
            f"{path} has format {version}; this cbir reads up to {FORMAT_VERSION}. Update cbir."
        )
    if version < 1:
        raise IndexDamagedError(
            f"{path} holds no catalog (format {version}; expected 1 to {FORMAT_VERSION}). Remove "
            "the index folder and run `cbir index FOLDER` again."
        )
