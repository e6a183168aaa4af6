"""Stored vectors, read back in the order their documents were added."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Allowed, Decodes, HasTerms, HasVectors
from ..documents import Document
from ..errors import InputError
from .snapshot import IndexView, Snapshot
from .stored import scroll_documents

_BATCH = 1_000


def vectors_of(
    connection: sqlite3.Connection, catalog: Path, snapshot: Snapshot, name: str, named: bool
) -> Iterator[tuple[str, Any]]:
    """(id, vector) of every document that is not split; see ``Collection.vectors``."""
    documents = scroll_documents(connection, catalog, -1)
    while some := list(islice(documents, _BATCH)):
        yield from vectors_from(snapshot, name, named, some)


def vectors_from(
    snapshot: Snapshot, name: str, named: bool, some: Sequence[tuple[int, Document]]
) -> list[tuple[str, Any]]:
    """(id, vector) of some documents with their rows."""
    rows = np.array([row for row, _ in some], np.int64)
    found = _read(snapshot.indexes[name], name, rows, Allowed(snapshot.live), named)
    return [(document.id, vector) for (_, document), vector in zip(some, found, strict=True)]


def _read(view: IndexView, name: str, rows: Any, allowed: Allowed, named: bool) -> Any:
    index, segments = view.index, view.segments
    if isinstance(index, Decodes) and named:
        return [dict(own) for own in index.decode(segments, rows, None)]
    if isinstance(index, HasTerms):
        return index.row_terms(segments, rows, allowed, 1.0)
    if isinstance(index, HasVectors):
        return index.vectors(segments, rows)
    raise InputError(f"{name!r} keeps no vectors that can be read back", field="index")
