"""The catalog's tables, and the checksum that each of their rows carries.

SQLite does not notice a flipped bit. Every row therefore carries a checksum of its own content, and
``state`` a digest: the sum of the checksums of all rows of all other tables. A row that was changed
fails its checksum; a row that vanished, or came back, breaks the digest.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from ..errors import CorruptionError

FORMAT_VERSION = 5
_MASK = (1 << 63) - 1

# table -> its columns before the checksum; the first entries of each are its key.
TABLES: dict[str, tuple[str, ...]] = {
    "indexes": ("name", "settings", "indexed_until", "deferred_until", "encoder", "since"),
    "segments": (
        "index_name",
        "number",
        "first_row",
        "end_row",
        "cleaned_at",
        "files",
        "summary",
    ),
    "documents": ("row", "n_rows", "id", "title", "text", "metadata", "labels", "spans"),
    "ids": ("id", "row"),
    "tombstones": ("row", "n_rows", "commit_number"),
    "fields": ("field", "kind", "value", "row", "n_rows"),
    "encodings": ("index_name", "row", "encoding"),
}

STATE = ("one", "format_version", "commit_number", "next_row", "n_documents", "digest", "settings")

SCHEMA = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), format_version INTEGER NOT NULL,
    commit_number INTEGER NOT NULL, next_row INTEGER NOT NULL, n_documents INTEGER NOT NULL,
    digest INTEGER NOT NULL, settings TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE indexes (
    name TEXT PRIMARY KEY, settings TEXT NOT NULL, indexed_until INTEGER NOT NULL,
    deferred_until INTEGER NOT NULL, encoder TEXT NOT NULL, since INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    index_name TEXT NOT NULL, number INTEGER NOT NULL, first_row INTEGER NOT NULL,
    end_row INTEGER NOT NULL, cleaned_at INTEGER NOT NULL, files TEXT NOT NULL,
    summary TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (index_name, number)) WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY, n_rows INTEGER NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL,
    text TEXT NOT NULL, metadata TEXT NOT NULL, labels TEXT NOT NULL, spans TEXT NOT NULL,
    checksum INTEGER NOT NULL);
CREATE TABLE ids (
    id TEXT PRIMARY KEY, row INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE tombstones (
    row INTEGER PRIMARY KEY, n_rows INTEGER NOT NULL, commit_number INTEGER NOT NULL,
    checksum INTEGER NOT NULL);
CREATE INDEX tombstones_by_commit ON tombstones (commit_number);
CREATE TABLE fields (
    field TEXT NOT NULL, kind TEXT NOT NULL, value, row INTEGER NOT NULL, n_rows INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (field, kind, value, row)) WITHOUT ROWID;
CREATE TABLE encodings (
    index_name TEXT NOT NULL, row INTEGER NOT NULL, encoding BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (index_name, row));
"""


def row_checksum(*values: Any) -> int:
    """A 63-bit checksum of a row's values (numbers, strings, bytes, None), in column order."""
    if values and isinstance(values[-1], bytes):
        values = (*values[:-1], xxhash.xxh3_64_intdigest(values[-1]))
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, values)).encode()) & _MASK


def add_to_digest(digest: int, checksum: int) -> int:
    """The digest after a row with this checksum came."""
    return (digest + checksum) & _MASK


class State(NamedTuple):
    """The one row of ``state``: which version this is."""

    format_version: int
    commit: int
    next_row: int
    n_documents: int
    digest: int
    settings: str

    @property
    def write(self) -> int:
        """The number of the last write of a cluster that this collection is a replica in."""
        number: int = json.loads(self.settings).get("write", 0)
        return number

    def row(self) -> tuple[Any, ...]:
        """As stored."""
        return (1, *self, row_checksum(1, *self))


def read_state(connection: sqlite3.Connection, path: Path) -> State:
    """The state of the version that the connection's transaction sees."""
    row = connection.execute(f"SELECT {', '.join(STATE)}, checksum FROM state").fetchone()  # noqa: S608
    if row is None:
        raise CorruptionError(path, "holds no state row")
    if row_checksum(*row[:-1]) != row[-1]:
        raise CorruptionError(path, "its state row does not match its checksum")
    return State(*row[1:-1])


def verify_rows(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    """Every problem that reading the whole catalog shows: structure, rows, digest, ids, fields.

    This reads every byte in use; opening does it only when ``head`` cannot vouch for the file.
    """
    for (message,) in connection.execute("PRAGMA integrity_check(20)"):
        if message != "ok":
            yield f"{path}: {message}"
    state = read_state(connection, path)
    digest = 0
    for table, columns in TABLES.items():
        query = f"SELECT {', '.join(columns)}, checksum FROM {table}"  # noqa: S608
        for row in connection.execute(query):
            if row_checksum(*row[:-1]) != row[-1]:
                yield f"{path}: the row {row[0]!r} of {table} does not match its checksum"
            digest = add_to_digest(digest, row[-1])
    if digest != state.digest:
        yield f"{path}: rows are missing from it: the digest of its tables does not match"
