"""One committed version, opened for searching.

A snapshot is a value: the segments that the catalog names at one commit, mapped; the tail, indexed
in memory; and the mask of live rows. A search runs inside a read transaction of SQLite and uses the
snapshot of exactly the commit that the transaction sees: documents, filters and segments agree.
Snapshots share what did not change: a refresh opens new segments only, and adds new rows to the
tail. A dropped segment's files may be unlinked while a snapshot has them mapped; the operating
system keeps their content until the last mapping goes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ..contracts import BoolArray, Encodes, Index, IndexSettings, Segment
from ..documents import Chunk, JsonObject
from ..errors import CormorantError, CorruptionError
from ..indexers.table import index_settings
from .encodings import read_encodings, with_encodings
from .ids import IDS, IdIndex
from .schema import TABLES, State, read_state, row_checksum
from .segments import ArrayFile, MemorySink, open_arrays
from .stored import read_chunks

SEGMENTS = "segments"


class StoredSegment(NamedTuple):
    """A segment that the catalog names, mapped."""

    number: int
    first_row: int
    end_row: int
    cleaned_at: int
    files_json: str
    size: int
    summary: JsonObject
    segment: Segment


class TailSegment(NamedTuple):
    """Rows that are in no file yet, indexed in memory: [first_row, end_row)."""

    first_row: int
    end_row: int
    segment: Segment


@dataclass(frozen=True, slots=True)
class IndexView:
    """One index at one commit. ``settings`` is None for the index of ids.

    ``encoder`` holds what is recorded of the index's encoder, None for an index that has none;
    ``since`` is the commit that added the index.
    """

    name: str
    settings: IndexSettings | None
    settings_json: str
    index: Index[Any]
    encoder: JsonObject | None
    since: int
    indexed_until: int
    deferred_until: int
    stored: tuple[StoredSegment, ...]
    tail: tuple[TailSegment, ...]

    @property
    def needs_vectors(self) -> bool:
        """Whether it has no model, and is searched with ready vectors only."""
        return self.encoder is not None and cast("Encodes[Any]", self.index).needs_vectors

    @property
    def segments(self) -> list[Any]:
        """Everything a search of this index reads."""
        return [item.segment for item in self.stored] + [item.segment for item in self.tail]

    @property
    def rows_behind(self) -> int:
        """How many rows wait to be indexed in the background, and are not searched yet."""
        return max(0, self.deferred_until - self.indexed_until)

    @property
    def tail_start(self) -> int:
        """The first row that the tail holds."""
        return max(self.indexed_until, self.deferred_until)


@dataclass(frozen=True)
class Snapshot:
    """A committed version.

    ``live`` masks rows; None when no deleted row is left anywhere. ``complete`` says that the tails
    hold every row that is in no file; a snapshot that only the writer looked at has older tails.
    """

    state: State
    live: BoolArray | None
    indexes: Mapping[str, IndexView]
    complete: bool

    @property
    def commit(self) -> int:
        """The version's number."""
        return self.state.commit

    @property
    def ids(self) -> IndexView:
        """The index from rows to ids."""
        return self.indexes[IDS]

    @cached_property
    def searchable(self) -> Mapping[str, IndexView]:
        """The indexes that answer queries."""
        return {name: view for name, view in self.indexes.items() if name != IDS}

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """The names of the indexes that answer queries with their kinds, the oldest first."""
        views = sorted(self.searchable.values(), key=lambda view: (view.since, view.name))
        return {view.name: view.settings.kind for view in views if view.settings is not None}

    @cached_property
    def kinds_for_texts(self) -> Mapping[str, str]:
        """Those of ``kinds`` that do not take ready vectors only."""
        views = self.searchable
        return {name: kind for name, kind in self.kinds.items() if not views[name].needs_vectors}

    @property
    def names(self) -> list[str]:
        """Every index, ids first: a row must have its id before a search can find it."""
        return sorted(self.indexes, key=lambda name: name != IDS)

    def buildable_until(self, name: str) -> int:
        """Up to which row an index may be built: no further than every row has its id."""
        if name != IDS and self.ids.rows_behind:
            return self.ids.indexed_until
        return self.state.next_row


def read_snapshot(
    connection: sqlite3.Connection, catalog: Path, previous: Snapshot | None
) -> Snapshot:
    """The snapshot of the version that the connection's open transaction sees, tails as before.

    Raises :class:`~cormorant.errors.CorruptionError`, naming the file, for a damaged one.
    """
    state = read_state(connection, catalog)
    live = _live_rows(connection, catalog, state, previous)
    segments = _verified(connection, catalog, "segments")
    views: dict[str, IndexView] = {}
    for name, settings_json, indexed_until, deferred_until, encoder, since in _verified(
        connection, catalog, "indexes"
    ):
        before = previous.indexes.get(name) if previous is not None else None
        if before is not None and before.settings_json != settings_json:
            before = None
        if before is None:
            settings = None if name == IDS else index_settings(json.loads(settings_json))
            index: Index[Any] = IdIndex() if settings is None else settings.index()
        else:
            settings, index = before.settings, before.index
        # The checksums in files_json say that the content is the same, whatever the number.
        opened = {item.files_json: item.segment for item in before.stored} if before else {}
        stored = tuple(
            _stored_segment(catalog.parent / SEGMENTS, index, row, opened.get(row[5]))
            for row in segments
            if row[0] == name
        )
        views[name] = IndexView(
            name=name,
            settings=settings,
            settings_json=settings_json,
            index=index,
            encoder=json.loads(encoder) if isinstance(index, Encodes) else None,
            since=since,
            indexed_until=indexed_until,
            deferred_until=deferred_until,
            stored=stored,
            tail=before.tail if before is not None else (),
        )
    if IDS not in views:
        raise CorruptionError(catalog, "names no index of ids")
    return Snapshot(state, live, views, complete=False)


def _verified(connection: sqlite3.Connection, catalog: Path, table: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(TABLES[table])
    rows = connection.execute(
        f"SELECT {columns}, checksum FROM {table} ORDER BY 1, 2"  # noqa: S608
    ).fetchall()
    for row in rows:
        if row_checksum(*row[:-1]) != row[-1]:
            raise CorruptionError(
                catalog, f"the row {row[0]!r} of {table} does not match its checksum"
            )
    return [row[:-1] for row in rows]


def _stored_segment(
    root: Path, index: Index[Any], row: tuple[Any, ...], opened: Segment | None
) -> StoredSegment:
    name, number, first_row, end_row, cleaned_at, files_json, summary_json = row
    files = [ArrayFile.from_json(value) for value in json.loads(files_json)]
    summary = json.loads(summary_json)
    place = root / name / str(number)
    segment = opened or open_segment(index, place, files, summary)
    size = sum(file.size for file in files)
    return StoredSegment(number, first_row, end_row, cleaned_at, files_json, size, summary, segment)


def open_segment(
    index: Index[Any], place: Path, files: Iterable[ArrayFile], summary: JsonObject
) -> Segment:
    """A segment from its files; :class:`~cormorant.errors.CorruptionError` names what is wrong."""
    arrays = open_arrays(place, files)
    try:
        segment: Segment = index.open(arrays, summary)
    except CormorantError as error:
        raise CorruptionError(place, str(error)) from None
    return segment


def _live_rows(
    connection: sqlite3.Connection, catalog: Path, state: State, previous: Snapshot | None
) -> BoolArray | None:
    if connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is None:
        return None
    since = -1
    mask = np.ones(state.next_row, np.bool_)
    if previous is not None and previous.live is not None:
        since = previous.commit
        mask[: len(previous.live)] = previous.live
    for row, n_rows, commit, checksum in connection.execute(
        "SELECT row, n_rows, commit_number, checksum FROM tombstones WHERE commit_number > ?",
        (since,),
    ):
        if row_checksum(row, n_rows, commit) != checksum:
            raise CorruptionError(catalog, f"the tombstone of row {row} is damaged")
        mask[row : row + n_rows] = False
    if (
        previous is not None
        and previous.live is not None
        and len(mask) == len(previous.live)
        and np.array_equal(mask, previous.live)
    ):
        return previous.live  # the same object, so that what is cached for it stays valid
    return mask


def complete_tails(connection: sqlite3.Connection, catalog: Path, snapshot: Snapshot) -> Snapshot:
    """The snapshot with every row that is in no file indexed in memory."""
    end = snapshot.state.next_row
    tails = {name: _kept_tail(view) for name, view in snapshot.indexes.items()}
    starts = {
        name: tail[-1].end_row if tail else snapshot.indexes[name].tail_start
        for name, tail in tails.items()
    }
    first = min(starts.values())
    chunks: list[Chunk] = []
    if first < end:
        chunks = list(read_chunks(connection, catalog, first, end, snapshot.live))
    views = {}
    for name, view in snapshot.indexes.items():
        tail = tails[name]
        if starts[name] < end:
            sink = MemorySink()
            new: Iterable[Chunk] = (chunk for chunk in chunks if chunk.row >= starts[name])
            if view.encoder is not None:
                encodings = read_encodings(connection, catalog, name, starts[name], end)
                new = with_encodings(new, encodings, catalog, name)
            summary = view.index.build(new, sink)
            segment = view.index.open(sink.arrays, summary)
            tail.append(TailSegment(starts[name], end, segment))
            _compact(view.index, tail, snapshot.live)
        views[name] = replace(view, tail=tuple(tail))
    return replace(snapshot, indexes=views, complete=True)


def _kept_tail(view: IndexView) -> list[TailSegment]:
    """What of the tail is still outside the files; nothing when a file holds part of a piece."""
    tail = [item for item in view.tail if item.end_row > view.tail_start]
    if tail and tail[0].first_row != view.tail_start:
        return []
    return tail


def _compact(index: Index[Any], tail: list[TailSegment], live: BoolArray | None) -> None:
    """Merge the newest pieces while they are not much smaller than the one before.

    Piece sizes then fall geometrically: a row is merged O(log n) times, and a search reads
    O(log n) pieces.
    """
    while len(tail) > 1 and len(tail[-2].segment.rows) < 2 * len(tail[-1].segment.rows):
        older, newer = tail[-2], tail[-1]
        sink = MemorySink()
        pair = [older.segment, newer.segment]
        summary = index.merge(pair, live_masks(pair, live), sink)
        tail[-2:] = [TailSegment(older.first_row, newer.end_row, index.open(sink.arrays, summary))]


def live_masks(segments: Sequence[Segment], live: BoolArray | None) -> list[BoolArray | None]:
    """For each segment which of its rows are live; None where all are."""
    if live is None:
        return [None] * len(segments)
    masks: list[BoolArray | None] = []
    for segment in segments:
        mask = live[segment.rows]
        masks.append(None if mask.all() else mask)
    return masks
