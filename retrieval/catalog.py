"""The catalog: one SQLite file that is the database, the write-ahead log and the commit point.

The story of a commit: SQLite appends the transaction to ``catalog.sqlite-wal`` and syncs it
(``synchronous=FULL``); then ``head`` notes the commit's number and is synced. A kill before the
first sync leaves the version before; a kill between the two leaves the new version and a head that
is one behind, which is sound. The log moves into the main file only at a checkpoint, which this
module alone starts (``wal_autocheckpoint=0``): ``head`` forgets the main file's checksum first and
notes the new one after.

Readers open the file read-only. They never checkpoint, recover or remove anything.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import (
    CormorantError,
    CorruptionError,
    DiskFullError,
    FormatVersionError,
    ReadOnlyError,
    StorageError,
)
from .catalog_file import BUSY_SECONDS, CatalogConnection, connect
from .disk import Disk, storage_errors
from .head import CATALOG, HEAD, Head, WriterHead, catalog_unchanged, new_head, read_head
from .schema import FORMAT_VERSION, SCHEMA, STATE, State, read_state, verify_rows
from .transaction import Transaction

CHECKPOINT_BYTES = 64 << 20
REHASH_BYTES = 1 << 30


@contextmanager
def catalog_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says into this project's errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path) from error


def translated(error: sqlite3.Error, path: Path) -> CormorantError:
    """What SQLite says as this project's error."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return ReadOnlyError(f"{path.parent} is closed; open it again")
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        return StorageError(
            f"{path}: cannot be opened: {error}; a reader needs permission to write beside it, for "
            "SQLite's shared memory, unless the file system is read-only"
        )
    if primary == sqlite3.SQLITE_FULL:
        return DiskFullError(
            f"{path}: no space left on the device; free some and try again "
            "(the last committed version goes on answering)"
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return CorruptionError(path, f"is damaged: {error}")
    return StorageError(f"{path}: {error}")


def create_catalog(directory: Path, settings: str, indexes: dict[str, str], disk: Disk) -> None:
    """Write the catalog and the head of an empty collection into an existing directory.

    ``settings`` and the values of ``indexes`` are JSON.
    """
    path = directory / CATALOG
    with catalog_errors(path):
        connection = connect(path, "rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            names = ", ".join(STATE)
            connection.execute(
                f"INSERT INTO state ({names}, checksum) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608
                State(FORMAT_VERSION, 0, 0, 0, 0, settings).row(),
            )
            transaction = Transaction(connection, path)
            for name, index_settings in indexes.items():
                transaction.put_index(name, index_settings, 0, 0)
            commit = transaction.finish().commit
            disk.before_commit()
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
    disk.write(directory / HEAD, new_head(commit, path))
    for name in (CATALOG, HEAD):
        disk.sync_file(directory / name)
    disk.sync_directory(directory)


def verify_catalog(directory: Path) -> Head:
    """Make sure the catalog is what was committed; every reader and writer opens through here.

    Cheap when ``head`` vouches for the file (one pass of a fast checksum); else every row is read.

    Raises :class:`~cormorant.errors.CorruptionError`, naming the file.
    """
    path = directory / CATALOG
    head = read_head(directory / HEAD)
    if not path.exists():
        raise CorruptionError(path, "is missing; restore the collection from a backup")
    unchanged = catalog_unchanged(head, path)
    with catalog_errors(path):
        connection = connect_reader(path)
        try:
            connection.execute("BEGIN")
            version = connection.execute("SELECT format_version FROM state").fetchone()
            if version and isinstance(version[0], int) and version[0] != FORMAT_VERSION:
                advice = (
                    f"install a newer cormorant (unless {path} is damaged)"
                    if version[0] > FORMAT_VERSION
                    else "index the documents again"
                )
                raise FormatVersionError(
                    f"{directory} is in format {version[0]}; this version of cormorant reads "
                    f"format {FORMAT_VERSION}; {advice}"
                )
            state = read_state(connection, path)
            if state.commit < head.commit:
                raise CorruptionError(
                    directory / f"{CATALOG}-wal",
                    f"lost its tail: {HEAD} notes commit {head.commit}, the catalog ends at "
                    f"{state.commit}; restore the collection from a backup",
                )
            if not unchanged:
                for problem in verify_rows(connection, path):
                    raise CorruptionError(path, problem.removeprefix(f"{path}: "))
        finally:
            connection.close()
    return head


def connect_reader(path: Path) -> CatalogConnection:
    """A read-only connection that any one thread at a time may use."""
    # A read-only medium has no place for SQLite's shared memory, and nobody writes to it.
    read_only_medium = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    return connect(path, "ro&immutable=1" if read_only_medium else "ro")


class CatalogWriter:
    """The one writer: holds the lock and runs transactions. Not safe for threads by itself."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._disk = disk
        self._checkpoint_at = CHECKPOINT_BYTES
        self.path = directory / CATALOG
        self._head = WriterHead(directory / HEAD, disk)
        try:
            verify_catalog(directory)
            with catalog_errors(self.path):
                self._connection = connect(self.path, "rw")
        except BaseException:
            self._head.close()
            raise
        try:
            with catalog_errors(self.path):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA wal_autocheckpoint = 0")
            self.checkpoint()
        except BaseException:
            self._connection.close()
            self._head.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One atomic, durable change of the catalog; an error inside leaves nothing behind."""
        with catalog_errors(self.path), storage_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(self._connection, self.path)
                yield transaction
                state = transaction.finish()
                self._disk.before_commit()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self._head.note_commit(state.commit)
        if self._log_size() > self._checkpoint_at:
            self.checkpoint()

    def unindexed_rows(self) -> int:
        """How many rows the longest tail has."""
        with catalog_errors(self.path):
            (rows,) = self._connection.execute(
                "SELECT next_row - (SELECT min(max(indexed_until, deferred_until)) FROM indexes) "
                "FROM state"
            ).fetchone()
        return int(rows)

    def index_settings(self) -> dict[str, str]:
        """The settings of every index, as JSON, by its name."""
        with catalog_errors(self.path):
            return dict(self._connection.execute("SELECT name, settings FROM indexes"))

    def names_segment(self, index_name: str, number: int) -> bool:
        """Whether the committed catalog names a segment."""
        with catalog_errors(self.path):
            found = self._connection.execute(
                "SELECT 1 FROM segments WHERE index_name = ? AND number = ?", (index_name, number)
            )
            return found.fetchone() is not None

    def checkpoint(self) -> None:
        """Move the log into the main file, and let ``head`` vouch for the result.

        A reader in the middle of its transaction may hold part of the log back; that part goes
        with the next checkpoint.
        """
        with catalog_errors(self.path), storage_errors(self.path):
            if self._log_size() > 0:
                self._head.forget_catalog()
                self._disk.before_commit()
                self._connection.execute("PRAGMA busy_timeout = 50")
                try:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                    # What a reader held back is not tried again before the log has grown.
                    self._checkpoint_at = self._log_size() + CHECKPOINT_BYTES
                finally:
                    self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            complete = self._log_size() == 0
            small = self.path.stat().st_size <= REHASH_BYTES
            if complete and small and not self._head.current.knows_catalog:
                self._head.note_catalog(self.path)

    def close(self) -> None:
        """Checkpoint, note the catalog's checksum whatever its size, and release the lock."""
        try:
            self.checkpoint()
            self._head.note_catalog(self.path)
        finally:
            self._connection.close()
            self._head.close()

    def _log_size(self) -> int:
        try:
            return self.path.with_name(f"{CATALOG}-wal").stat().st_size
        except FileNotFoundError:
            return 0
