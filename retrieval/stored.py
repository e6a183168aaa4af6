"""Documents as the catalog's rows hold them: read back, verified, split into their chunks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts import BoolArray
from ..documents import Chunk, Document
from ..errors import CollectionError, CorruptionError
from ..results import Span, Stored
from .schema import TABLES, row_checksum

_COLUMNS = ", ".join(f"documents.{name}" for name in (*TABLES["documents"], "checksum"))
_BATCH = 500


def document_of(row: Sequence[Any], path: Path) -> Document:
    """The document of one row of ``documents``, after verifying its checksum."""
    if row_checksum(*row[:-1]) != row[-1]:
        raise CorruptionError(path, f"the stored document {row[2]!r} does not match its checksum")
    return Document.restored(
        id=row[2],
        title=row[3],
        text=row[4],
        metadata=json.loads(row[5]) if row[5] else {},
        labels=tuple(json.loads(row[6])) if row[6] else (),
    )


def spans_of(row: Sequence[Any]) -> list[Span]:
    """The passages of one row of ``documents``."""
    if not row[7]:
        return [Span(0, len(row[4]))]
    return [Span(start, end) for start, end in json.loads(row[7])]


def get_document(connection: sqlite3.Connection, path: Path, name: str) -> Document | None:
    """The live document of an id."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM ids JOIN documents ON documents.row = ids.row WHERE ids.id = ?",  # noqa: S608
        (name,),
    ).fetchone()
    return None if row is None else document_of(row, path)


def read_live(
    connection: sqlite3.Connection, path: Path, names: Sequence[str]
) -> dict[str, tuple[int, Document, list[Span]]]:
    """(first row, document, passages) of the live documents among some ids."""
    found = {}
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) AS given "  # noqa: S608
        "CROSS JOIN ids ON ids.id = given.value JOIN documents ON documents.row = ids.row",
        (json.dumps(list(names)),),
    ):
        found[row[2]] = row[0], document_of(row, path), spans_of(row)
    return found


def read_documents(
    connection: sqlite3.Connection, path: Path, rows: Sequence[int]
) -> dict[int, tuple[Document, list[Span]]]:
    """Documents and their passages by the row of their first chunk, for those that are there."""
    found = {}
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        marks = ",".join("?" * len(batch))
        for row in connection.execute(
            f"SELECT {_COLUMNS} FROM documents WHERE row IN ({marks})",  # noqa: S608
            batch,
        ):
            found[row[0]] = document_of(row, path), spans_of(row)
    return found


def scroll_documents(
    connection: sqlite3.Connection, path: Path, after_row: int
) -> Iterator[tuple[int, Document]]:
    """(row, document) of the live documents after a row, in the order they were added."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM documents LEFT JOIN tombstones USING (row) "  # noqa: S608
        "WHERE documents.row > ? AND tombstones.row IS NULL ORDER BY documents.row",
        (after_row,),
    ):
        yield row[0], document_of(row, path)


def read_chunks(
    connection: sqlite3.Connection,
    path: Path,
    first_row: int,
    end_row: int,
    live: BoolArray | None,
) -> Generator[Chunk, None, None]:
    """The chunks of the live documents that start in [first_row, end_row), by row."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM documents WHERE row >= ? AND row < ? ORDER BY row",  # noqa: S608
        (first_row, end_row),
    ):
        if live is not None and not live[row[0]]:
            continue
        if row_checksum(*row[:-1]) != row[-1]:
            raise CorruptionError(path, f"the document {row[2]!r} does not match its checksum")
        number, name, title, text = row[0], row[2], row[3], row[4]
        if not row[7]:
            yield Chunk(number, number, name, title, text)
            continue
        for place, (start, end) in enumerate(json.loads(row[7])):
            yield Chunk(number + place, number, name, title, text[start:end])


def read_ids(
    connection: sqlite3.Connection, first_row: int, end_row: int, live: BoolArray | None
) -> Generator[Chunk, None, None]:
    """The same chunks without title and text, for the index of ids."""
    for row, n_rows, name in connection.execute(
        "SELECT row, n_rows, id FROM documents WHERE row >= ? AND row < ? ORDER BY row",
        (first_row, end_row),
    ):
        if live is None or live[row]:
            for place in range(n_rows):
                yield Chunk(row + place, row, name, "", "")


def stored_for(
    found: Mapping[int, tuple[Document, list[Span]]],
    documents: Sequence[int],
    rows: Sequence[int],
) -> list[Stored]:
    """The documents of hits, by their first rows, and the passages that the hits' rows are.

    ``found``: what could be read of the documents.
    """
    result = []
    for first, row in zip(documents, rows, strict=True):
        if first not in found:
            raise CollectionError(
                "a document of this result was deleted and purged since the search; "
                "search again, or call result.load() right after searching"
            )
        document, spans = found[first]
        result.append(Stored(document, spans[row - first]))
    return result
