"""What encoders made of rows that are in no segment yet, and which encoder it was.

The story of an encoding: it is computed outside every transaction (a model takes its time), then
committed with the documents, by ``add``, or batch by batch for rows that are there already, by a
build in the background or by ``add_index``. A kill loses at most the batch being encoded. A search
reads what the tail needs from here, so that no reader ever encodes a document. When a segment
that holds a row is named, its encoding is removed in the same transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..contracts import BoolArray, Encodes, Encodings
from ..documents import Chunk, Document, JsonObject
from ..errors import CollectionError, CorruptionError, InputError
from . import policy
from .schema import row_checksum
from .stored import read_chunks, read_live

if TYPE_CHECKING:
    from .reader import Pinned


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


def next_batch(
    connection: sqlite3.Connection,
    path: Path,
    first_row: int,
    end_row: int,
    live: BoolArray | None,
    done: Mapping[int, int],
) -> tuple[list[Chunk], int]:
    """The next passages to encode, cut between documents, and the row where they end.

    Rows of ``done`` have their encoding already and are passed over.
    """
    batch: list[Chunk] = []
    characters = 0
    for chunk in read_chunks(connection, path, first_row, end_row, live):
        full = len(batch) >= policy.ENCODED_DOCUMENTS or characters >= policy.ENCODED_CHARACTERS
        if full and chunk.row == chunk.document:
            return batch, chunk.row
        if chunk.row not in done:
            batch.append(chunk)
            characters += len(chunk.text)
    return batch, end_row


def passages(
    documents: Sequence[Document], spans: Sequence[Sequence[tuple[int, int]] | None]
) -> list[Chunk]:
    """The passages of documents that have no rows yet, in the order their rows will have."""
    return [
        Chunk(-1, -1, document.id, document.title, document.text[start:end])
        for document, cuts in zip(documents, spans, strict=True)
        for start, end in (cuts or [(0, len(document.text))])
    ]


def known_encodings(
    pinned: Pinned,
    path: Path,
    name: str,
    documents: Sequence[Document],
    spans: Sequence[Sequence[tuple[int, int]] | None],
) -> list[bytes | None]:
    """For each passage of documents about to be added, its encoding if it is known already.

    A document that replaces one with the same title, text and passages keeps its encodings: what
    only changes metadata, or adds a corpus a second time after a kill, encodes nothing again.
    """
    there = read_live(pinned.connection, path, [document.id for document in documents])
    rows: list[int] = []
    for document, cuts in zip(documents, spans, strict=True):
        n_rows = 1 if cuts is None else len(cuts)
        row = -1
        if document.id in there:
            first, before, spans_before = there[document.id]
            same_text = (before.title, before.text) == (document.title, document.text)
            if same_text and spans_before == (cuts or [(0, len(document.text))]):
                row = first
        rows += [-1] * n_rows if row < 0 else range(row, row + n_rows)
    wanted = [row for row in rows if row >= 0]
    if not wanted:
        return [None] * len(rows)
    view = pinned.snapshot.indexes[name]
    index = cast(Encodes[Any], view.index)
    stored = index.encodings([item.segment for item in view.stored], np.array(wanted, np.int64))
    found = dict(zip(wanted, stored, strict=True))
    for row, encoding, checksum in pinned.connection.execute(
        "SELECT row, encoding, checksum FROM encodings "
        "WHERE index_name = ? AND row IN (SELECT value FROM json_each(?))",
        (name, json.dumps(wanted)),
    ):
        if row_checksum(name, row, encoding) != checksum:
            raise CorruptionError(path, f"the encoding of row {row} for {name!r} is damaged")
        found[row] = encoding
    return [found.get(row) for row in rows]


def encode_unknown(
    index: Encodes[Any], chunks: Sequence[Chunk], known: Sequence[bytes | None]
) -> Encodings:
    """The encodings of all passages: those that are known, and new ones for the rest."""
    missing = [chunk for chunk, encoding in zip(chunks, known, strict=True) if encoding is None]
    made = index.encode(missing) if missing else Encodings([], {})
    new = iter(made.data)
    return Encodings([next(new) if item is None else item for item in known], made.made_by)
