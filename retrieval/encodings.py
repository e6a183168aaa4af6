"""What encoders made of rows that are in no segment yet, and which encoder it was.

The story of an encoding in the catalog: it is committed with the documents, by ``add``, or batch by
batch for rows that are there already (:mod:`cormorant.retrieval.encoding` says when and how). A
search reads what the tail needs from here, so that no reader ever encodes a document. When a
segment that holds a row is named, its encoding is removed in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..documents import Chunk, JsonObject
from ..errors import CollectionError, CorruptionError, InputError
from .schema import row_checksum


def agreed(index: str, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> JsonObject:
    """What both say of an index's encoder; facts that only one knows are taken from it.

    Raises :class:`~cormorant.errors.CollectionError` where they differ, and
    :class:`~cormorant.errors.InputError` where ready vectors do not fit.
    """
    for fact, value in given.items():
        if fact in recorded and recorded[fact] != value:
            if "model" not in given:
                raise InputError(
                    f"index {index!r} was made with {fact} {recorded[fact]!r}, not {value!r}",
                    field="vectors",
                )
            raise CollectionError(
                f"index {index!r} was made with {fact} {recorded[fact]!r}, not {value!r}: vectors "
                "of two models cannot be compared; give the model back its files (or pin its "
                "revision), or put the new one beside it with add_index(NEW_NAME, ...) and then "
                f"drop_index({index!r})"
            )
    return {**recorded, **given}


def read_encodings(
    connection: sqlite3.Connection, path: Path, index: str, first_row: int, end_row: int
) -> Iterator[tuple[int, bytes]]:
    """(row, encoding) for rows in [first_row, end_row), ascending, each verified."""
    for name, row, encoding, checksum in connection.execute(
        "SELECT index_name, row, encoding, checksum FROM encodings "
        "WHERE index_name = ? AND row >= ? AND row < ? ORDER BY row",
        (index, first_row, end_row),
    ):
        if row_checksum(name, row, encoding) != checksum:
            raise CorruptionError(path, f"the encoding of row {row} for {name!r} is damaged")
        yield row, encoding


def encoded_rows(
    connection: sqlite3.Connection, index: str, first_row: int, end_row: int
) -> dict[int, int]:
    """Rows in [first_row, end_row) that have an encoding here, with its size in bytes."""
    found = connection.execute(
        "SELECT row, length(encoding) FROM encodings WHERE index_name = ? AND row >= ? AND row < ?",
        (index, first_row, end_row),
    )
    return dict(found)


def with_encodings(
    chunks: Iterable[Chunk], encodings: Iterator[tuple[int, bytes]], path: Path, index: str
) -> Generator[Chunk, None, None]:
    """The chunks, each with its encoding; both come in row order."""
    row, encoding = -1, b""
    for chunk in chunks:
        while row < chunk.row:
            row, encoding = next(encodings, (1 << 62, b""))
        if row != chunk.row:
            raise CorruptionError(path, f"row {chunk.row} has no encoding for index {index!r}")
        yield chunk._replace(encoding=encoding)
