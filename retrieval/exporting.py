"""Stored vectors, read back in the order their documents were added."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Allowed, Decodes, HasTerms, HasVectors
from ..errors import InputError
from .snapshot import IndexView, Snapshot
from .stored import scroll_documents

_BATCH = 1_000


def vectors_of(
    connection: sqlite3.Connection, catalog: Path, snapshot: Snapshot, name: str, named: bool
) -> Iterator[tuple[str, Any]]:
    """(id, vector) of every document that is not split; see ``Collection.vectors``."""
    view = snapshot.indexes[name]
    documents = scroll_documents(connection, catalog, -1)
    while some := list(islice(documents, _BATCH)):
        rows = np.array([row for row, _ in some], np.int64)
        found = _read(view, name, rows, Allowed(snapshot.live), named)
        for (_, document), vector in zip(some, found, strict=True):
            yield document.id, vector


def _read(view: IndexView, name: str, rows: Any, allowed: Allowed, named: bool) -> Any:
    index, segments = view.index, view.segments
    if isinstance(index, Decodes) and named:
        return [dict(own) for own in index.decode(segments, rows, None)]
    if isinstance(index, HasTerms):
        return index.row_terms(segments, rows, allowed, 1.0)
    if isinstance(index, HasVectors):
        return index.vectors(segments, rows)
    raise InputError(f"{name!r} keeps no vectors that can be read back", field="index")
