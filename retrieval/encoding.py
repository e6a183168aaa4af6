"""Runs encoders: on documents about to be added, and on rows that no segment holds yet.

The story of an encoding: it is computed outside every transaction (a model takes its time), then
committed with the documents, by ``add``, or batch by batch for rows that are there already, by a
build in the background or by ``add_index``. A kill loses at most the batch being encoded. What is
known already is never encoded again: a build goes on behind the last encoding that was committed,
and a document that is added again with the text it had keeps the encodings it had.

The locks here, one for each index, see to it that two builds of an index do not encode the same
rows. They come after the builder's lock and before the catalog's
(:mod:`cormorant.retrieval.writer`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ..contracts import BoolArray, Encodes, Encodings
from ..documents import Chunk, Document, JsonObject
from ..errors import CorruptionError, InputError
from . import policy
from .arguments import Progress, When
from .encodings import encoded_rows
from .reader import Pinned, Reader
from .ready_vectors import BatchVectors, check_unsplit
from .schema import row_checksum
from .shared_catalog import SharedCatalog
from .snapshot import IndexView
from .stored import read_chunks, read_live


class BatchEncodings(NamedTuple):
    """The encodings of one batch, None for what the background is to encode."""

    data: Sequence[bytes | None]
    made_by: JsonObject


def encode_batch(
    reader: Reader,
    view: IndexView,
    batch: Sequence[Document],
    spans: Sequence[Sequence[tuple[int, int]] | None],
    vectors: BatchVectors | None,
    when: When,
) -> BatchEncodings:
    """What an index needs to know of the passages of a batch about to be added.

    From ``vectors`` if there are any, else from what is known, else from the encoder; with
    ``when="later"`` the last is left to the background.
    """
    index = cast(Encodes[Any], view.index)
    if vectors is None:
        with reader.pinned(tail=False) as pinned:
            known = known_encodings(pinned, reader.catalog, view.name, batch, spans)
        if index.needs_vectors and None in known:
            raise InputError(
                f"index {view.name!r} has no model: give add the documents' vectors, "
                f"vectors={{{view.name!r}: ...}}",
                field="vectors",
            )
        if when == "later":
            return BatchEncodings(known, {})
        return BatchEncodings(*_encode_unknown(index, _passages(batch, spans), known))
    check_unsplit(spans)
    return BatchEncodings(*index.accept(vectors.values, vectors.first))


class RowEncoder:
    """Encodes rows that are in the catalog already. Safe to call from several threads."""

    def __init__(self, reader: Reader, catalog: SharedCatalog) -> None:
        self._reader = reader
        self._catalog = catalog
        self._encoding: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def encode_piece(self, name: str, progress: Progress | None) -> int:
        """Encode what an index's next piece needs, batch by durable batch; up to which row.

        The index may be dropped meanwhile: then there is nothing more to do. Nor is there for an
        index that has no encoder. Both are said by a row below any other, -1.
        """
        with self._encoding[name]:
            with self._reader.pinned(tail=False) as pinned:
                view = pinned.snapshot.indexes.get(name)
                if view is None or view.encoder is None:
                    return -1
                at, last = view.indexed_until, pinned.snapshot.buildable_until(name)
                done = encoded_rows(pinned.connection, name, at, last)
            size = 0
            while at < last and size < policy.SEGMENT_CHARACTERS:
                with self._reader.pinned(tail=False) as pinned:
                    live = pinned.snapshot.live
                    batch, end = _next_batch(
                        pinned.connection, self._reader.catalog, at, last, live, done
                    )
                size += sum(done.get(row, 0) for row in range(at, end))
                if batch:
                    self._catalog.check_open(to_go_on=True)
                    made = cast(Encodes[Any], view.index).encode(batch)
                    rows = [chunk.row for chunk in batch]
                    with self._catalog.transaction() as transaction:
                        if not transaction.has_index(name, view.settings_json):
                            return -1
                        transaction.note_encoder(name, made.made_by)
                        transaction.put_encodings(name, zip(rows, made.data, strict=True))
                    size += sum(map(len, made.data))
                    if progress is not None:
                        progress("encoded", len(batch))
                at = end
        return at


def _next_batch(
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


def _passages(
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
    view = pinned.snapshot.indexes.get(name)
    if not wanted or view is None:  # dropped since its caller looked, who will look again
        return [None] * len(rows)
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


def _encode_unknown(
    index: Encodes[Any], chunks: Sequence[Chunk], known: Sequence[bytes | None]
) -> Encodings:
    """The encodings of all passages: those that are known, and new ones for the rest."""
    missing = [chunk for chunk, encoding in zip(chunks, known, strict=True) if encoding is None]
    made = index.encode(missing) if missing else Encodings([], {})
    new = iter(made.data)
    return Encodings([next(new) if item is None else item for item in known], made.made_by)
