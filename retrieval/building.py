"""Builds segments from the catalog's rows, and merges segments into one.

The story of a piece: what it needs encoded is encoded; the index builds it from rows of the catalog
into a directory of its own; its files are made durable; and one transaction names it, moves the
mark up to which the index is in files, and forgets its encodings and the deleted rows that no index
holds any more. A kill leaves the version before, with the encodings, and the next build goes on
from the mark. A merge is a transaction that names one segment in the place of several; the files of
those are removed after it, and readers that have them mapped keep them until they let go.

An index may leave out of a piece what only makes searches faster, where more pieces follow (it
``Postpones``): after the last one these are merged into one segment that has it, so that it is made
once (into several, where the index ``Bounds`` its merges). After a kill, or an ``add`` that failed,
the background does so.

The lock here is the outermost of the writer's (:mod:`cormorant.retrieval.writer`): one build, merge
or change of the index list at a time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..contracts import BoolArray, Bounds, Postpones
from ..documents import Chunk
from . import policy
from .arguments import Progress
from .disk import Disk
from .encoding import RowEncoder
from .encodings import read_encodings, with_encodings
from .ids import IDS
from .reader import Pinned, Reader
from .segment_directories import SegmentDirectories
from .shared_catalog import SharedCatalog
from .snapshot import IndexView, Snapshot, StoredSegment, live_masks
from .stored import read_chunks, read_ids
from .unfinished import FollowedSink, key_of


class Builder:
    """Writes the segments of one collection. Safe to call from several threads."""

    def __init__(
        self, reader: Reader, disk: Disk, catalog: SharedCatalog, directories: SegmentDirectories
    ) -> None:
        self._reader = reader
        self._disk = disk
        self._catalog = catalog
        self._directories = directories
        self._encoder = RowEncoder(reader, catalog)
        self._building = threading.RLock()
        self._adding: list[None] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other thread builds, merges or changes the index list until the block ends."""
        with self._building:
            yield

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Pieces that were left without something are not merged until the block ends.

        For an ``add`` that has written some; one that has not waits for nothing and delays nobody.
        """
        self._adding.append(None)
        try:
            yield
        finally:
            self._adding.pop()

    def build(self, name: str, progress: Progress | None, *, more: bool = False) -> None:
        """Write all of an index that is in no file yet; ``more``: documents are to follow.

        While another ``add`` is under way, pieces that lack something are left to its end.
        """
        while self.build_piece(name, progress, more=more):
            pass
        if not (more or self._adding):
            with self._building:
                self._finish(self._reader.snapshot(), name, progress)

    def build_piece(self, name: str, progress: Progress | None, *, more: bool = False) -> bool:
        """Write the next bounded piece of an index; False when nothing was left."""
        # Before the lock is taken, so that nobody waits for an encoder; under it little is left.
        self._encoder.encode_piece(name, progress)
        with self._building:
            return self._build_encoded(name, progress, more)

    def _build_encoded(self, name: str, progress: Progress | None, more: bool) -> bool:
        snapshot = self._reader.snapshot()
        view = snapshot.indexes.get(name)
        if view is None:
            return False
        first, last = view.indexed_until, snapshot.buildable_until(name)
        if view.encoder is not None:
            last = self._encoder.encode_piece(name, progress)
        if first >= last:
            return False
        directory, number = self._directories.new(name)
        with (
            self._reader.pinned(tail=False) as pinned,
            closing(_chunks(pinned, self._reader.catalog, view, first, last)) as chunks,
            self._directories.discarded_on_error(name, number),
        ):
            piece = _Piece(chunks, last, _most_rows(view))
            postpones = isinstance(view.index, Postpones)
            more = more or bool(_unfinished(view))
            sink = FollowedSink(
                directory,
                self._disk,
                lambda: not postpones or not (more or piece.end_row < last),
                progress=progress,
            )
            summary = view.index.build(iter(piece), sink)
            files = sink.finish()
        with (
            self._directories.discarded_on_error(name, number),
            self._catalog.transaction() as transaction,
        ):
            if piece.rows:
                transaction.put_segment(
                    name,
                    number,
                    first_row=first,
                    end_row=piece.end_row,
                    cleaned_at=pinned.snapshot.commit,
                    files=json.dumps([file.as_json() for file in files]),
                    summary=json.dumps(summary),
                )
            transaction.move_index(name, piece.end_row)
            transaction.purge()
        if not piece.rows:
            self._directories.remove(name, number)
        if progress is not None and name != IDS:
            progress("indexed", piece.rows)
        return True

    def postponed(self) -> bool:
        """Whether some index has pieces that are to be merged when no more follow."""
        return any(map(_unfinished, self._reader.snapshot().indexes.values()))

    def merge_when_due(self) -> bool:
        """One merge; False when none is due.

        One that was begun before, of pieces left without something, or by the policy.
        """
        with self._building:
            for name in self._reader.snapshot().names:
                snapshot = self._reader.snapshot()
                view = snapshot.indexes[name]
                if not (self._adding or view.rows_behind):
                    begun = self._directories.begun(name)
                    chosen = [item for item in view.stored if item.number in begun]
                    if chosen:
                        self._merge(view, chosen, snapshot, None)
                        return True
                    if self._finish(snapshot, name, most=1):
                        return True
                left_out = _unfinished(view)
                stored = [item for item in view.stored if item not in left_out]
                masks = live_masks(
                    [item.segment for item in stored],
                    snapshot.live if _worth_counting(snapshot.live, view) else None,
                )
                sizes = [
                    policy.SegmentSize(item.number, len(item.segment.rows), _dead(mask))
                    for item, mask in zip(stored, masks, strict=True)
                ]
                numbers = set(policy.choose_merge(sizes, _most_rows(view)))
                if numbers:
                    chosen = [item for item in view.stored if item.number in numbers]
                    self._merge(view, chosen, snapshot, None)
                    return True
        return False

    def merge_into_one(self, name: str, progress: Progress | None) -> None:
        """Leave an index one segment, or as few as it may merge into, without deleted rows."""
        with self._building:
            snapshot = self._reader.snapshot()
            view = snapshot.indexes[name]
            for group in _groups(view, view.stored, snapshot):
                if len(group) > 1 or snapshot.live is not None:
                    self._merge(view, group, snapshot, progress)

    def _finish(
        self,
        snapshot: Snapshot,
        name: str,
        progress: Progress | None = None,
        *,
        most: int | None = None,
    ) -> bool:
        """Merge the pieces whose index left something out; False where there is none.

        ``most``: so many groups of them.
        """
        view = snapshot.indexes.get(name)
        pieces = [] if view is None else _unfinished(view)
        if view is not None:
            for group in _groups(view, pieces, snapshot)[:most]:
                self._merge(view, group, snapshot, progress)
        return bool(pieces)

    def _merge(
        self,
        view: IndexView,
        chosen: Sequence[StoredSegment],
        snapshot: Snapshot,
        progress: Progress | None,
    ) -> None:
        """Replace segments by one that holds what is live of them at the snapshot's commit."""
        segments = [item.segment for item in chosen]
        keep = live_masks(segments, snapshot.live)
        survivors = sum(
            len(segment.rows) if mask is None else int(mask.sum())
            for segment, mask in zip(segments, keep, strict=True)
        )
        key = key_of(view.settings_json, [item.files_json for item in chosen], keep)
        numbers = [item.number for item in chosen]
        unfinished = self._directories.unfinished(view.name, key, numbers)
        directory, number = self._directories.new(view.name)
        with (
            unfinished.removed_when_full(),
            self._directories.discarded_on_error(view.name, number),
        ):
            if survivors:
                sink = FollowedSink(directory, self._disk, progress=progress, unfinished=unfinished)
                summary = view.index.merge(segments, keep, sink)
                files = json.dumps([file.as_json() for file in sink.finish()])
            with self._catalog.transaction() as transaction:
                transaction.drop_segments(view.name, numbers)
                if survivors:
                    transaction.put_segment(
                        view.name,
                        number,
                        first_row=min(item.first_row for item in chosen),
                        end_row=max(item.end_row for item in chosen),
                        cleaned_at=snapshot.commit,
                        files=files,
                        summary=json.dumps(summary),
                    )
                transaction.purge()
        unfinished.remove()
        for old in numbers:
            self._directories.remove(view.name, old)
        if progress is not None and view.name != IDS:
            progress("merged", survivors)


class _Piece:
    """Chunks up to the bounds of one build, cut between documents; remembers where it ended."""

    def __init__(self, chunks: Iterator[Chunk], last_row: int, most_rows: int | None) -> None:
        self._chunks = chunks
        self._most_rows = min(policy.SEGMENT_ROWS, most_rows or policy.SEGMENT_ROWS)
        self.end_row = last_row
        self.rows = 0

    def __iter__(self) -> Iterator[Chunk]:
        characters = 0
        for chunk in self._chunks:
            full = self.rows >= self._most_rows or characters >= policy.SEGMENT_CHARACTERS
            if full and chunk.row == chunk.document:
                self.end_row = chunk.row
                return
            self.rows += 1
            characters += len(chunk.text) + len(chunk.encoding)
            yield chunk


def _chunks(
    pinned: Pinned, catalog: Path, view: IndexView, first: int, last: int
) -> Generator[Chunk, None, None]:
    connection, live = pinned.connection, pinned.snapshot.live
    if view.name != IDS and view.encoder is None:
        return read_chunks(connection, catalog, first, last, live)
    chunks = read_ids(connection, first, last, live)
    if view.encoder is None:
        return chunks
    encodings = read_encodings(connection, catalog, view.name, first, last)
    return with_encodings(chunks, encodings, catalog, view.name)


def _unfinished(view: IndexView) -> list[StoredSegment]:
    index = view.index
    if not isinstance(index, Postpones):
        return []
    return [item for item in view.stored if index.unfinished(item.segment)]


def _most_rows(view: IndexView) -> int | None:
    """How many rows one merge of an index may write."""
    index = view.index
    if not isinstance(index, Bounds):
        return None
    dim = (view.encoder or {}).get("dim")
    return index.most_rows([item.segment for item in view.stored], dim)


def _groups(
    view: IndexView, segments: Sequence[StoredSegment], snapshot: Snapshot
) -> list[list[StoredSegment]]:
    """Segments in groups that may be merged into one each."""
    masks = live_masks([item.segment for item in segments], snapshot.live)
    rows = [
        len(item.segment.rows) - _dead(mask) for item, mask in zip(segments, masks, strict=True)
    ]
    groups = policy.in_groups(rows, _most_rows(view))
    return [[segments[place] for place in group] for group in groups]


def _worth_counting(live: BoolArray | None, view: IndexView) -> bool:
    """Whether enough is deleted in all that some segment could be due for a rewrite."""
    smallest = min((len(item.segment.rows) for item in view.stored), default=0)
    return live is not None and _dead(live) >= policy.DEAD_SHARE * smallest


def _dead(mask: BoolArray | None) -> int:
    return 0 if mask is None else int(len(mask) - mask.sum())
