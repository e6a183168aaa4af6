"""What is in a collection, as one JSON object: for people, the command line and the server."""

from __future__ import annotations

from ..documents import JsonObject
from ..tagged import to_json
from .reader import Reader
from .snapshot import SEGMENTS, IndexView, Snapshot
from .unfinished import unfinished_bytes


def describe_collection(reader: Reader, failure: Exception | None) -> JsonObject:
    """Documents, version, indexes with their sizes in bytes.

    ``failure`` is what stopped the background's last task.
    """
    snapshot = reader.snapshot()
    return {
        "path": str(reader.directory),
        "documents": snapshot.state.n_documents,
        "version": snapshot.commit,
        "indexes": {
            name: _describe_index(reader, snapshot, view)
            for name, view in snapshot.searchable.items()
        },
        "catalog_bytes": reader.catalog.stat().st_size,
        "ids_bytes": sum(item.size for item in snapshot.ids.stored),
        "background_error": None if failure is None else str(failure),
    }


def _describe_index(reader: Reader, snapshot: Snapshot, view: IndexView) -> JsonObject:
    assert view.settings is not None
    return {
        **to_json(view.settings),
        **view.index.describe([item.segment for item in view.stored]),
        **({} if view.encoder is None else {"made_by": view.encoder}),
        "segments": len(view.stored),
        "bytes": sum(item.size for item in view.stored),
        "unfinished_bytes": unfinished_bytes(reader.directory / SEGMENTS / view.name),
        "tail_rows": max(0, snapshot.state.next_row - view.tail_start),
        "rows_behind": view.rows_behind,
    }
