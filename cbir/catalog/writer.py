"""Writing the catalog: rows and features in one transaction, every change with its own seq."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from cbir.catalog import schema
from cbir.catalog.catalog import MADE, Catalog, catalog_path, connect, sqlite_errors
from cbir.catalog.halves import to_blob
from cbir.catalog.records import NewContent, NewFile
from cbir.errors import OperationFailedError
from cbir.types import Failure, ImageRef


def make_folder(index: str) -> None:
    """Make the index folder, where there is none; OperationFailedError where that fails."""
    try:
        os.makedirs(index, exist_ok=True)
    except OSError as error:
        raise OperationFailedError(
            f"Cannot make the index folder {index} ({error.strerror}). Name another with -i."
        ) from None


def create_catalog(index: str) -> None:
    """Make an empty catalog in an index folder, where there is none.

    The caller holds the index's lock. Raises OperationFailedError where that place cannot be
    written.
    """
    make_folder(index)
    path = catalog_path(index)
    if os.path.exists(path):
        return
    beside = path + ".new"
    # A write-ahead log that outlived its catalog would be applied to the new one.
    for left in (beside, beside + "-journal", beside + "-wal", path + "-wal", path + "-shm"):
        if os.path.exists(left):
            os.remove(left)
    with sqlite_errors(path):
        db = connect(beside, "mode=rwc")
        schema.create(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.close()
    os.replace(beside, path)


class CatalogWriter(Catalog):
    """The one writer; whoever makes it holds the index's lock (index/lock.py)."""

    def _connect(self) -> sqlite3.Connection:
        db = connect(self.path, "mode=rw")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    def close(self) -> None:
        """Fold the write-ahead log into the database, then release it.

        Afterwards the one file is complete: it can be copied, or put on a read-only medium.
        """
        try:
            self.db.execute("PRAGMA busy_timeout = 200")  # readers are not waited for
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # a reader holds it back; nothing is lost, the log stays beside the database
        super().close()

    @contextmanager
    def writing(self) -> Iterator[int]:
        """One transaction: all of it or nothing. Yields the seq of the change."""
        with sqlite_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                seq = self.seq + 1
                self.set("seq", seq)
                yield seq
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def set(self, key: str, value: object) -> None:
        """Store a setting, as JSON."""
        self.db.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = "
            "excluded.value",
            (key, json.dumps(value)),
        )

    # -- roots and embedders ---------------------------------------------------------------------

    def add_root(self, path: str, scanning: Mapping[str, object]) -> int:
        """Add a folder, or change how it is scanned; its id."""
        self.db.execute(
            "INSERT INTO roots (path, scanning) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET "
            "scanning = excluded.scanning",
            (os.fsencode(path), json.dumps(scanning)),
        )
        row = self.db.execute("SELECT id FROM roots WHERE path = ?", (os.fsencode(path),))
        return int(row.fetchone()[0])

    def adopt_root(self, inner: int, outer: int, prefix: str) -> None:
        """Put the files of a root below another root that contains it; ids stay."""
        start = os.fsencode(prefix) + b"/"
        for table in ("files", "failures"):
            self.db.execute(
                f"UPDATE {table} SET root = ?, path = CAST(? || path AS BLOB) WHERE root = ?",
                (outer, start, inner),
            )
        self.db.execute("DELETE FROM roots WHERE id = ?", (inner,))

    def forget_root(self, root: int) -> None:
        """Drop an empty root and its list of failures."""
        self.db.execute("DELETE FROM failures WHERE root = ?", (root,))
        self.db.execute("DELETE FROM roots WHERE id = ?", (root,))

    def add_embedder(self, fingerprint: str, spec: str, feature_dims: int) -> int:
        """Add an embedder; its row id."""
        self.db.execute(
            "INSERT INTO embedders (fingerprint, spec, feature_dims) VALUES (?, ?, ?) "
            "ON CONFLICT (fingerprint) DO NOTHING",
            (fingerprint, spec, feature_dims),
        )
        row = self.db.execute("SELECT id FROM embedders WHERE fingerprint = ?", (fingerprint,))
        return int(row.fetchone()[0])

    # -- files -----------------------------------------------------------------------------------

    def put_contents(self, embedder: int, contents: Iterable[NewContent]) -> None:
        """Store contents with their features (as 16-bit floats).

        Raises OperationFailedError for a feature that is not finite.
        """
        for new in contents:
            row = self.db.execute(
                "INSERT INTO contents (hash, width, height, format) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (hash) DO UPDATE SET width = excluded.width, height = "
                "excluded.height, format = excluded.format RETURNING id",
                (new.hash, new.width, new.height, new.format),
            ).fetchone()
            self.db.execute(
                "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
                (row[0], embedder, to_blob(new.feature)),
            )

    def put_files(self, seq: int, files: Iterable[NewFile]) -> None:
        """Store files whose contents are stored; a file with an id keeps it."""
        for new in files:
            path = os.fsencode(new.ref.path)
            if new.id is None and self._give_back(seq, new, path):
                continue
            values = (new.root, path, new.ref.size, new.ref.mtime_ns, new.content, seq)
            if new.id is None:
                self.db.execute(
                    "INSERT INTO files (root, path, size, mtime_ns, content, seq) VALUES "
                    "(?, ?, ?, ?, (SELECT id FROM contents WHERE hash = ?), ?)",
                    values,
                )
            else:
                self.db.execute(
                    "UPDATE files SET root = ?, path = ?, size = ?, mtime_ns = ?, content = "
                    "(SELECT id FROM contents WHERE hash = ?), seq = ? WHERE id = ?",
                    (*values, new.id),
                )
            self.db.execute("DELETE FROM failures WHERE root = ? AND path = ?", (new.root, path))

    def _give_back(self, seq: int, new: NewFile, path: bytes) -> bool:
        """Store a file that failed before under the id it had until then, where it had one."""
        row = self.db.execute(
            "SELECT former FROM failures WHERE root = ? AND path = ? AND former IS NOT NULL",
            (new.root, path),
        ).fetchone()
        if row is None:
            return False
        self.db.execute("DELETE FROM removed WHERE id = ?", row)
        self.db.execute("DELETE FROM failures WHERE root = ? AND path = ?", (new.root, path))
        self.db.execute(
            "INSERT INTO files (id, root, path, size, mtime_ns, content, seq) VALUES "
            "(?, ?, ?, ?, ?, (SELECT id FROM contents WHERE hash = ?), ?)",
            (row[0], new.root, path, new.ref.size, new.ref.mtime_ns, new.content, seq),
        )
        return True

    def remove_files(self, seq: int, ids: Iterable[int], described: bool = False) -> None:
        """Take files out of the gallery; their ids are never used for others.

        `described`: labels and metadata stay, since the file may come back.
        """
        for file in ids:
            self.db.execute("DELETE FROM files WHERE id = ?", (int(file),))
            self.db.execute("INSERT OR REPLACE INTO removed VALUES (?, ?)", (int(file), seq))
            if not described:
                self._forget(int(file))

    def _forget(self, file: int) -> None:
        for table in ("metadata", "labels"):
            self.db.execute(f"DELETE FROM {table} WHERE file = ?", (file,))

    def put_failure(
        self, root: int, ref: ImageRef, failure: Failure, former: int | None = None
    ) -> None:
        """Remember that a file could not be used, as it is now; `former`: the id it had before."""
        self.db.execute(
            "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (root, path) DO UPDATE SET "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, reason = excluded.reason, "
            "former = coalesce(excluded.former, former)",
            (root, os.fsencode(ref.path), ref.size, ref.mtime_ns, failure.reason, former),
        )

    def drop_failures(self, root: int, paths: Iterable[str]) -> None:
        """Forget failures of files that are gone, and what was known of those files before."""
        for path in paths:
            former = self.db.execute(
                "DELETE FROM failures WHERE root = ? AND path = ? RETURNING former",
                (root, os.fsencode(path)),
            ).fetchall()
            for (file,) in former:
                if file is not None:
                    self._forget(file)

    def touch_file(self, file: int, size: int, mtime_ns: int) -> None:
        """Note a file's new time and size where its content is the same."""
        self.db.execute(
            "UPDATE files SET size = ?, mtime_ns = ? WHERE id = ?", (size, mtime_ns, file)
        )

    def put_metadata(self, rows: Mapping[int, Mapping[str, str]]) -> None:
        """Replace the metadata of these images; a column `label` is also their label."""
        for file, columns in rows.items():
            self._forget(file)
            self.db.executemany(
                "INSERT INTO metadata VALUES (?, ?, ?)", [(file, n, v) for n, v in columns.items()]
            )
            if "label" in columns:
                self.db.execute(
                    "INSERT OR REPLACE INTO labels VALUES (?, ?)", (file, columns["label"])
                )

    def drop_features(self, embedder: int, files: Iterable[int]) -> None:
        """Drop an embedder's features of these images, so that they are embedded again."""
        self.db.executemany(
            "DELETE FROM features WHERE content = (SELECT content FROM files WHERE id = ?) AND "
            "embedder = ?",
            [(int(file), embedder) for file in files],
        )

    def drop_orphans(self) -> int:
        """Drop contents (and features) that no file has any more; how many."""
        return self.db.execute(
            "DELETE FROM contents WHERE id NOT IN (SELECT content FROM files) AND hash NOT IN "
            "(SELECT query FROM feedback)"
        ).rowcount

    # -- generations -----------------------------------------------------------------------------

    def begin_generation(self, embedder: int | None, spec: str, projection: bytes | None,
                         fitted: int) -> int:  # fmt: skip
        """Add a generation that is not live yet; its id."""
        row = self.db.execute(
            "INSERT INTO generations (state, embedder, spec, projection, fitted, created) VALUES "
            "('building', ?, ?, ?, ?, ?) RETURNING id",
            (embedder, spec, projection, fitted, datetime.now(UTC).isoformat(timespec="seconds")),
        ).fetchone()
        return int(row[0])

    def set_calibration(self, generation: int, calibration: bytes | None) -> None:
        """Store how this generation's scores become matches; None: no more."""
        self.db.execute(
            "UPDATE generations SET calibration = ? WHERE id = ?", (calibration, generation)
        )

    def put_made(self, generation: int, made: Mapping[str, object]) -> None:
        """Store what was made and measured of this generation's search index (it goes with it)."""
        self.set(f"{MADE}{generation}", dict(made))

    def _forget_made(self) -> None:
        self.db.execute(
            f"DELETE FROM settings WHERE key GLOB '{MADE}*' AND CAST(substr(key, ?) AS INTEGER) "
            "NOT IN (SELECT id FROM generations)",
            (len(MADE) + 1,),
        )

    def adopt_generation(self, generation: int) -> None:
        """Swap to a generation of another embedder: all that makes it the index's own at once.

        The one that was live is kept as the former one, to go back to.
        """
        live, chosen = self.generation(), self.generation(generation)
        row = None if chosen is None else self.embedder_of(chosen)
        assert live is not None and chosen is not None and row is not None
        self.set("former", live.id)
        self.set("embedder", row.fingerprint)
        self.set("index_spec", json.loads(chosen.spec))
        self.make_live(generation)

    def drop_embedders(self, kept: Iterable[int]) -> list[str]:
        """Drop all other embedders, their features and generations; their fingerprints."""
        stay = set(kept)
        gone = [row for row in self.embedders() if row.id not in stay]
        for row in gone:
            for table in ("generations", "features"):
                self.db.execute(f"DELETE FROM {table} WHERE embedder = ?", (row.id,))
            self.db.execute("DELETE FROM embedders WHERE id = ?", (row.id,))
        self._forget_made()
        return [row.fingerprint for row in gone]

    def drop_unfinished(self) -> None:
        """Drop generations that a killed run began."""
        self.db.execute("DELETE FROM generations WHERE state = 'building'")
        self._forget_made()

    def compact(self) -> None:
        """Give the space of what was dropped back to the disk; outside of any transaction."""
        with sqlite_errors(self.path):
            self.db.execute("VACUUM")

    def make_live(self, generation: int, keep: int = 2) -> None:
        """Swap: this generation is live, the one before old; all but `keep` old ones go.

        The former embedder's generation stays, however old it is.
        """
        self.db.execute("UPDATE generations SET state = 'old' WHERE state = 'live'")
        self.db.execute("UPDATE generations SET state = 'live' WHERE id = ?", (generation,))
        self.drop_unfinished()
        self.db.execute(
            "DELETE FROM generations WHERE state = 'old' AND id IS NOT ? AND id NOT IN (SELECT id "
            "FROM generations WHERE state = 'old' ORDER BY id DESC LIMIT ?)",
            (self.setting("former"), keep),
        )
        self._forget_made()
