"""One write transaction: every change of a row keeps its checksum and the digest right."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..documents import Document, JsonObject
from ..errors import CorruptionError
from .encodings import agreed
from .fields import flatten
from .schema import STATE, TABLES, add_to_digest, read_state, row_checksum

_INSERTS = {
    table: f"INSERT INTO {table} ({', '.join(columns)}, checksum) "  # noqa: S608
    f"VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in TABLES.items()
}


class Transaction:
    """Changes of the catalog inside one open SQLite transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.state = read_state(connection, path)

    @property
    def commit(self) -> int:
        """The number this transaction will have."""
        return self.state.commit + 1

    def finish(self) -> Any:
        """Write the new state row; what remains is SQLite's COMMIT."""
        self.state = self.state._replace(commit=self.commit)
        marks = ", ".join(f"{name} = ?" for name in (*STATE, "checksum"))
        self._connection.execute(f"UPDATE state SET {marks}", self.state.row())  # noqa: S608
        return self.state

    def add_documents(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[tuple[int, int]] | None],
        encodings: Mapping[str, Sequence[bytes | None]],
    ) -> int:
        """Add or replace documents whose ids differ; returns how many were replaced.

        ``spans`` holds each document's passages, None for one that is a single passage;
        ``encodings`` for each index that has an encoder the encoding of every passage, in order,
        None for one that the background is to encode.
        """
        replaced = self.delete([document.id for document in documents])
        first = row = self.state.next_row
        stored, ids, fields = [], [], []
        for document, passages in zip(documents, spans, strict=True):
            n_rows = 1 if passages is None else len(passages)
            metadata = _json(document.metadata) if document.metadata else ""
            labels = _json(list(document.labels)) if document.labels else ""
            stored.append(
                (
                    row,
                    n_rows,
                    document.id,
                    document.title,
                    document.text,
                    metadata,
                    labels,
                    "" if passages is None else _json(passages),
                )
            )
            ids.append((document.id, row))
            if metadata or labels:
                fields += [
                    (*item, row, n_rows) for item in flatten(document.metadata, document.labels)
                ]
            row += n_rows
        self._insert("documents", stored)
        self._insert("ids", sorted(ids))
        self._insert("fields", fields)
        for name, values in encodings.items():
            if len(values) != row - first:
                raise ValueError(f"{len(values)} encodings of {name!r} for {row - first} rows")
            known = [(at, value) for at, value in enumerate(values, first) if value is not None]
            self.put_encodings(name, known)
        self.state = self.state._replace(
            next_row=row, n_documents=self.state.n_documents + len(documents)
        )
        return replaced

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the documents of these ids, where they exist; returns how many did."""
        if not self.state.n_documents:
            return 0
        found = self._connection.execute(
            "SELECT ids.id, ids.row, documents.n_rows, ids.checksum FROM json_each(?) AS given "
            "CROSS JOIN ids ON ids.id = given.value LEFT JOIN documents ON documents.row = ids.row",
            (_json(list(ids)),),
        ).fetchall()
        if not found:
            return 0
        for name, row, n_rows, checksum in found:
            if n_rows is None or row_checksum(name, row) != checksum:
                raise CorruptionError(self._path, f"the entry of document {name!r} is damaged")
        self._connection.executemany("DELETE FROM ids WHERE id = ?", [(item[0],) for item in found])
        self._subtract(item[3] for item in found)
        self._insert("tombstones", [(row, n_rows, self.commit) for _, row, n_rows, _ in found])
        self.state = self.state._replace(n_documents=self.state.n_documents - len(found))
        return len(found)

    def put_index(
        self,
        name: str,
        settings: str,
        indexed_until: int,
        deferred_until: int,
        encoder: str = "{}",
        since: int | None = None,
    ) -> None:
        """Add an index, or change what is noted of it; ``since``: the commit that added it."""
        self._delete("indexes", "name = ?", (name,))
        added = self.commit if since is None else since
        row = (name, settings, indexed_until, deferred_until, encoder, added)
        self._insert("indexes", [row])

    def move_index(self, name: str, indexed_until: int) -> None:
        """Note that an index holds every row below a mark in files."""
        settings, _, deferred_until, encoder, since = self._index(name)
        self.put_index(name, settings, indexed_until, deferred_until, encoder, since)
        self._delete("encodings", "index_name = ? AND row < ?", (name, indexed_until))

    def defer_indexes(self) -> None:
        """Leave every row there is to the background: no index searches it before it is built.

        Only where no index has a tail: rows that a search finds today must not vanish.
        """
        for name in self.index_names():
            settings, indexed_until, _, encoder, since = self._index(name)
            self.put_index(name, settings, indexed_until, self.state.next_row, encoder, since)

    def drop_index(self, name: str) -> None:
        """Remove an index, its segments and its encodings."""
        self._delete("indexes", "name = ?", (name,))
        self._delete("segments", "index_name = ?", (name,))
        self._delete("encodings", "index_name = ?", (name,))

    def has_index(self, name: str, settings: str) -> bool:
        """Whether there is an index of that name with these settings."""
        found = self._connection.execute("SELECT settings FROM indexes WHERE name = ?", (name,))
        there: tuple[str] | None = found.fetchone()
        return there == (settings,)

    def index_names(self) -> list[str]:
        """Every index there is."""
        return [name for (name,) in self._connection.execute("SELECT name FROM indexes")]

    def note_encoder(self, name: str, made_by: JsonObject) -> None:
        """Record what makes an index's encodings; it must agree with what did so far.

        Raises :class:`~cormorant.errors.CollectionError` when it does not.
        """
        settings, indexed_until, deferred_until, encoder, since = self._index(name)
        both = _json(agreed(name, json.loads(encoder), made_by))
        if both != encoder:
            self.put_index(name, settings, indexed_until, deferred_until, both, since)

    def note_write(self, number: int) -> None:
        """Keep the number that a cluster gave this write."""
        settings = {**json.loads(self.state.settings), "write": number}
        self.state = self.state._replace(settings=json.dumps(settings))

    def put_encodings(self, name: str, encodings: Iterable[tuple[int, bytes]]) -> None:
        """Keep what an index's encoder made of rows, until a segment holds it."""
        self._insert("encodings", [(name, row, encoding) for row, encoding in encodings])

    def _index(self, name: str) -> tuple[str, int, int, str, int]:
        found: tuple[str, int, int, str, int] = self._connection.execute(
            "SELECT settings, indexed_until, deferred_until, encoder, since FROM indexes "
            "WHERE name = ?",
            (name,),
        ).fetchone()
        return found

    def put_segment(
        self,
        index_name: str,
        number: int,
        *,
        first_row: int,
        end_row: int,
        cleaned_at: int,
        files: str,
        summary: str,
    ) -> None:
        """Make a segment part of the collection; its files are durable already.

        ``cleaned_at``: documents deleted up to this commit are not in it.
        """
        self._insert(
            "segments",
            [(index_name, number, first_row, end_row, cleaned_at, files, summary)],
        )

    def drop_segments(self, index_name: str, numbers: Iterable[int]) -> None:
        """Take segments out of the collection."""
        for number in numbers:
            key = (index_name, number)
            if self._delete("segments", "index_name = ? AND number = ?", key) != 1:
                raise CorruptionError(self._path, f"names no segment {number} of {index_name!r}")

    def purge(self) -> int:
        """Forget deleted documents that no segment and no tail holds any more."""
        gone = self._connection.execute(
            "SELECT row FROM tombstones WHERE row + n_rows <= "
            "(SELECT min(indexed_until) FROM indexes) AND NOT EXISTS "
            "(SELECT 1 FROM segments WHERE first_row < tombstones.row + tombstones.n_rows "
            "AND end_row > tombstones.row AND cleaned_at < tombstones.commit_number)"
        ).fetchall()
        for (row,) in gone:
            stored = self._connection.execute(
                "SELECT metadata, labels FROM documents WHERE row = ?", (row,)
            ).fetchone()
            if stored is None:
                raise CorruptionError(self._path, f"the deleted document of row {row} is missing")
            metadata = json.loads(stored[0]) if stored[0] else {}
            labels = json.loads(stored[1]) if stored[1] else []
            for field, kind, value in flatten(metadata, labels):
                self._delete(
                    "fields",
                    "field = ? AND kind = ? AND value = ? AND row = ?",
                    (field, kind, value, row),
                )
            self._delete("documents", "row = ?", (row,))
            self._delete("tombstones", "row = ?", (row,))
        return len(gone)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        complete = [(*row, row_checksum(*row)) for row in rows]
        digest = self.state.digest
        for row in complete:
            digest = add_to_digest(digest, row[-1])
        self._connection.executemany(_INSERTS[table], complete)
        self.state = self.state._replace(digest=digest)

    def _delete(self, table: str, where: str, values: tuple[Any, ...]) -> int:
        """Delete rows, say how many; ``table`` and ``where`` are constants of this module."""
        gone = self._connection.execute(
            f"DELETE FROM {table} WHERE {where} RETURNING checksum",  # noqa: S608
            values,
        ).fetchall()
        self._subtract(row[0] for row in gone)
        return len(gone)

    def _subtract(self, checksums: Iterable[int]) -> None:
        digest = self.state.digest
        for checksum in checksums:
            digest = add_to_digest(digest, -checksum)
        self.state = self.state._replace(digest=digest)


def _json(value: Any) -> str:
    return json.dumps(
        dict(value) if hasattr(value, "items") else value,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
