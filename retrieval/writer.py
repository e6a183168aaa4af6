"""The one writer of a collection: documents in, segments out, nothing lost.

``add`` and ``delete`` are transactions of the catalog; when they return, the change is durable and
the next search finds it (in the tail). Segments follow: built from the catalog's rows, made
durable, then named by a transaction. A kill anywhere leaves the version before or the one after;
directories that no version names are removed when the next writer opens.

Locks are always taken in this order: ``_building`` (one build, merge or change of the index list at
a time), one of ``_encoding`` (one encoder at a time works for an index's builds), ``_writing`` (one
transaction at a time). Encoding takes long: it is done before ``_building`` is taken, wherever that
can be, so that it holds nobody up.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from ..contracts import Array, BoolArray, Encodes, IndexSettings
from ..documents import Chunk, Document, JsonObject
from ..errors import (
    CormorantError,
    InputError,
    MissingDependencyError,
    ModelNotFoundError,
    ReadOnlyError,
    UnknownNameError,
)
from ..indexers.chunking import Chunking
from ..tagged import to_json
from . import policy
from .batches import batches
from .catalog import CatalogWriter
from .disk import Disk, storage_errors
from .encodings import (
    encode_unknown,
    encoded_rows,
    known_encodings,
    next_batch,
    passages,
    read_encodings,
    with_encodings,
)
from .ids import IDS
from .reader import Pinned, Reader
from .segments import FileSink
from .snapshot import SEGMENTS, IndexView, Snapshot, StoredSegment, live_masks
from .stored import read_chunks, read_ids
from .transaction import Transaction

When: TypeAlias = Literal["now", "later"]
_COALESCE_SECONDS = 0.02
Progress: TypeAlias = Callable[[str, int], None]
"""Called with what was done ("added", "indexed") and how many more since the last call."""


class Writer:
    """Adds, deletes, builds and merges. Safe to call from several threads."""

    def __init__(self, directory: Path, disk: Disk, reader: Reader) -> None:
        self._directory = directory
        self._disk = disk
        self._reader = reader
        self._catalog = CatalogWriter(directory, disk)
        self._building = threading.RLock()
        self._encoding: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._writing = threading.Lock()
        self._unindexed_characters = 0
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._background_ends = threading.Event()
        self._closing_thread: int | None = None
        self._process = os.getpid()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._worker: threading.Thread | None = None
        try:
            with reader.pinned(tail=False) as pinned:
                self._remove_unnamed(pinned.snapshot)
        except BaseException:
            self._catalog.close()
            raise

    def start(self) -> None:
        """Start the background thread: what ``index="later"`` left to do, and merges."""
        self._worker = threading.Thread(
            target=self._work, name=f"cormorant {self._directory.name}", daemon=True
        )
        self._worker.start()
        self._wake.set()

    def stop_background(self) -> None:
        """End the background thread, waiting for the task it is at."""
        self._background_ends.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join()

    def add(
        self,
        documents: Iterable[Document],
        chunking: Chunking | None,
        vectors: Mapping[str, Array],
        when: When,
        progress: Progress | None,
    ) -> int:
        """Add or replace documents; returns how many were given.

        ``vectors``: for some indexes, the ready vectors of all documents.
        """
        total = 0
        for name, values in vectors.items():
            if isinstance(documents, Sized) and len(values) != len(documents):
                raise InputError(
                    f"{len(values)} vectors for {len(documents)} documents; one is needed for each",
                    field=f"vectors[{name!r}]",
                )
        for batch in batches(documents, self._present, *self._batch_bounds(vectors, when)):
            spans = [_spans(chunking, document) for document in batch]
            given = {
                name: _Ready(_cut(values, total, total + len(batch), name), total)
                for name, values in vectors.items()
            }
            self._add_batch(batch, spans, given, when)
            total += len(batch)
            if progress is not None:
                progress("added", len(batch))
            if when == "now":
                self._index_when_due(policy.SEGMENT_ROWS, progress)
        for name, values in vectors.items():
            if len(values) != total:
                raise InputError(
                    f"{len(values)} vectors for {total} documents (the documents were added)",
                    field=f"vectors[{name!r}]",
                )
        if when == "now":
            self._index_when_due(policy.TAIL_ROWS, progress)
        self._wake.set()
        return total

    def _batch_bounds(self, vectors: Mapping[str, Array], when: When) -> tuple[int, int]:
        """At most how many documents and characters one transaction of ``add`` takes."""
        encoding = {name for name, view in self._views().items() if view.encoder is not None}
        for name in vectors:
            if name not in encoding:
                there = ", ".join(sorted(encoding)) or "none"
                raise UnknownNameError(
                    f"no index {name!r} takes vectors; these do: {there}", field="vectors"
                )
        if when == "now" and encoding - vectors.keys():
            return policy.ENCODED_DOCUMENTS, policy.ENCODED_CHARACTERS
        return policy.BATCH_DOCUMENTS, policy.BATCH_CHARACTERS

    def _views(self) -> dict[str, IndexView]:
        with self._reader.pinned(tail=False) as pinned:
            return dict(pinned.snapshot.indexes)

    def _add_batch(
        self,
        batch: Sequence[Document],
        spans: Sequence[Sequence[tuple[int, int]] | None],
        vectors: Mapping[str, _Ready],
        when: When,
    ) -> None:
        """Encode a batch, outside every transaction, then add it with its encodings in one.

        With ``when="later"`` the background encodes what is neither given nor known. What
        another ``add`` made searchable in a tail would vanish behind the new mark, so tails are
        written first.
        """
        made: dict[tuple[str, str], _Made] = {}
        while True:
            views = self._views()
            keys = {
                name: (name, view.settings_json)
                for name, view in views.items()
                if view.encoder is not None
            }
            for name, key in keys.items():
                if key not in made:
                    made[key] = self._encodings(views[name], batch, spans, vectors.get(name), when)
            with self._writing:
                self._check_open()
                settings = {name: view.settings_json for name, view in views.items()}
                if self._catalog.index_settings() != settings:
                    continue  # an index came or went meanwhile
                if when == "now" or self._catalog.unindexed_rows() == 0:
                    data = {name: made[key].data for name, key in keys.items()}
                    with self._catalog.transaction() as transaction:
                        for name, key in keys.items():
                            transaction.note_encoder(name, made[key].made_by)
                        transaction.add_documents(batch, spans, data)
                        if when == "later":
                            transaction.defer_indexes()
                    self._unindexed_characters += sum(
                        len(item.title) + len(item.text) for item in batch
                    ) + sum(len(item or b"") for items in data.values() for item in items)
                    return
            self._index_all(None)

    def _encodings(
        self,
        view: IndexView,
        batch: Sequence[Document],
        spans: Sequence[Sequence[tuple[int, int]] | None],
        vectors: _Ready | None,
        when: When,
    ) -> _Made:
        index = cast(Encodes[Any], view.index)
        if vectors is None:
            with self._reader.pinned(tail=False) as pinned:
                known = known_encodings(pinned, self._reader.catalog, view.name, batch, spans)
            if index.needs_vectors and None in known:
                raise InputError(
                    f"index {view.name!r} has no model: give add the documents' vectors, "
                    f"vectors={{{view.name!r}: ...}}",
                    field="vectors",
                )
            if when == "later":
                return _Made(known, {})
            return _Made(*encode_unknown(index, passages(batch, spans), known))
        if any(cuts is not None for cuts in spans):
            raise InputError(
                "this collection splits long documents into passages, each of which needs a vector "
                "of its own; create one without chunk= for ready vectors",
                field="vectors",
            )
        return _Made(*index.accept(vectors.values, vectors.first))

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._writing:
            self._check_open()
            with self._catalog.transaction() as transaction:
                yield transaction

    def _check_open(self) -> None:
        if self._stopping.is_set() and not self._closing_thread == threading.get_ident():
            raise ReadOnlyError(f"{self._directory} is closed; open it again to write to it")
        if os.getpid() != self._process:
            raise ReadOnlyError(f"{self._directory} was opened before a fork; open it again here")

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; returns how many of the ids there were."""
        with self._transaction() as transaction:
            deleted = transaction.delete(ids)
        self._wake.set()
        return deleted

    def flush(self, progress: Progress | None = None) -> None:
        """Write every row that is in no file yet into segments, then checkpoint the catalog."""
        self._index_all(progress)
        with self._writing:
            self._catalog.checkpoint()
        self._wake.set()

    def merge(self) -> None:
        """Flush, merge every index into one segment, and forget deleted documents for good."""
        self._index_all(None)  # most of the work, and all of the encoding, holding nobody up
        with self._building:
            self._index_all(None)
            for name in self._names():
                with self._reader.pinned(tail=False) as pinned:
                    view, live = pinned.snapshot.indexes[name], pinned.snapshot.live
                dead = live is not None
                if len(view.stored) > 1 or (view.stored and dead):
                    self._merge_segments(view, list(view.stored), pinned.snapshot)
            with self._transaction() as transaction:
                transaction.purge()
            with self._writing:
                self._catalog.checkpoint()

    def add_index(
        self, name: str, settings: IndexSettings, when: When, progress: Progress | None
    ) -> None:
        """Add an index over the documents that are there, piece by durable piece."""
        with self._building, self._transaction() as transaction:
            if name in self._names():
                raise InputError(f"there is an index {name!r} already", field="name")
            index = settings.index()
            needs_vectors = isinstance(index, Encodes) and index.needs_vectors
            if when == "now" and needs_vectors and transaction.state.n_documents:
                raise InputError(
                    "this index has no model to encode the documents that are there; use "
                    "index='later' and add them again with their vectors",
                    field="index",
                )
            next_row = transaction.state.next_row
            transaction.put_index(name, json.dumps(to_json(settings)), 0, next_row)
        if when == "now":
            try:
                for each in (IDS, name):
                    self._index_pieces(each, progress)
            except (InputError, ModelNotFoundError, MissingDependencyError):
                self.drop_index(name)  # time will not mend it
                raise
        self._wake.set()

    def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        with self._building:
            with self._reader.pinned(tail=False) as pinned:
                names = list(pinned.snapshot.searchable)
            if name not in names:
                raise UnknownNameError(
                    f"there is no index {name!r}; there are: {', '.join(names)}", field="name"
                )
            with self._transaction() as transaction:
                transaction.drop_index(name)
            self._remove(self._directory / SEGMENTS / name)

    def wait_indexed(self, timeout_seconds: float | None) -> bool:
        """Wait until no index is behind; False when the time ran out first.

        Raises what stopped the background thread, if something did.
        """
        self._failure = None
        self._wake.set()
        with self._idle:
            done = self._idle.wait_for(
                lambda: self._stopping.is_set() or self._failure is not None or not self._behind(),
                timeout_seconds,
            )
        self._check_open()
        self._raise_failure()
        return done

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No build and no merge while the block runs."""
        with self._building:
            yield

    @property
    def failure(self) -> Exception | None:
        """What stopped the background thread's last task."""
        return self._failure

    def close(self) -> None:
        """Stop the background thread, write the tail if it is worth a file, release the lock."""
        self._closing_thread = threading.get_ident()
        self._stopping.set()
        try:
            self.stop_background()
            with self._idle:
                self._idle.notify_all()
            if os.getpid() == self._process:
                self._index_when_due(policy.CLOSE_ROWS, None)
        finally:
            with self._writing:
                self._catalog.close()

    # -- building ---------------------------------------------------------------------------

    def _present(self, name: str) -> bool:
        with self._reader.pinned(tail=False) as pinned:
            found = pinned.connection.execute("SELECT 1 FROM ids WHERE id = ?", (name,))
            return found.fetchone() is not None

    def _names(self) -> list[str]:
        """Every index, ids first: a row must have its id before a search can find it."""
        with self._reader.pinned(tail=False) as pinned:
            return sorted(pinned.snapshot.indexes, key=lambda name: name != IDS)

    def _index_when_due(self, rows: int, progress: Progress | None) -> None:
        with self._writing:
            waiting = self._catalog.unindexed_rows()
        if waiting >= rows or (
            rows > 1 and self._unindexed_characters >= policy.SEGMENT_CHARACTERS
        ):
            self._index_all(progress, deferred=False)

    def _index_all(self, progress: Progress | None, *, deferred: bool = True) -> None:
        self._unindexed_characters = 0
        for name in self._names():
            if deferred or not self._is_behind(name):
                self._index_pieces(name, progress)

    def _index_pieces(self, name: str, progress: Progress | None) -> None:
        """Write all of an index that is in no file yet."""
        more = True
        while more:
            self._encode_piece(name, progress)
            more = self._index_piece(name, progress)

    def _is_behind(self, name: str) -> bool:
        with self._reader.pinned(tail=False) as pinned:
            view = pinned.snapshot.indexes.get(name)
            return view is not None and view.rows_behind > 0

    def _index_piece(self, name: str, progress: Progress | None) -> bool:
        """Write the next bounded piece of an index; False when nothing was left."""
        with self._building:
            with self._reader.pinned(tail=False) as pinned:
                view = pinned.snapshot.indexes.get(name)
                if view is None:
                    return False
                first, last = view.indexed_until, _last_row(pinned.snapshot, name)
            if view.encoder is not None:
                last = self._encode_piece(name, progress)
            if first >= last:
                return False
            with self._reader.pinned(tail=False) as pinned:
                directory, number = self._new_segment(name)
                with (
                    closing(_chunks(pinned, self._reader.catalog, view, first, last)) as chunks,
                    self._discarded_on_error(name, number),
                ):
                    piece = _Piece(chunks, last)
                    sink = FileSink(directory, self._disk)
                    summary = view.index.build(iter(piece), sink)
                    files = sink.finish()
            with self._discarded_on_error(name, number), self._transaction() as transaction:
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
                self._remove(directory)
            if progress is not None and name != IDS:
                progress("indexed", piece.rows)
            return True

    def _encode_piece(self, name: str, progress: Progress | None) -> int:
        """Encode what an index's next piece needs, batch by durable batch; up to which row.

        The index may be dropped meanwhile: then there is nothing more to do.
        """
        with self._encoding[name]:
            with self._reader.pinned(tail=False) as pinned:
                view = pinned.snapshot.indexes.get(name)
                if view is None or view.encoder is None:
                    return -1
                at, last = view.indexed_until, _last_row(pinned.snapshot, name)
                done = encoded_rows(pinned.connection, name, at, last)
            size = 0
            while at < last and size < policy.SEGMENT_CHARACTERS:
                with self._reader.pinned(tail=False) as pinned:
                    live = pinned.snapshot.live
                    batch, end = next_batch(
                        pinned.connection, self._reader.catalog, at, last, live, done
                    )
                size += sum(done.get(row, 0) for row in range(at, end))
                if batch:
                    self._check_open()
                    made = cast(Encodes[Any], view.index).encode(batch)
                    rows = [chunk.row for chunk in batch]
                    with self._transaction() as transaction:
                        if not transaction.has_index(name, view.settings_json):
                            return -1
                        transaction.note_encoder(name, made.made_by)
                        transaction.put_encodings(name, zip(rows, made.data, strict=True))
                    size += sum(map(len, made.data))
                    if progress is not None:
                        progress("encoded", len(batch))
                at = end
        return at

    def _merge_segments(
        self, view: IndexView, chosen: Sequence[StoredSegment], snapshot: Snapshot
    ) -> None:
        """Replace segments by one that holds what is live of them at the snapshot's commit."""
        segments = [item.segment for item in chosen]
        keep = live_masks(segments, snapshot.live)
        survivors = sum(
            len(segment.rows) if mask is None else int(mask.sum())
            for segment, mask in zip(segments, keep, strict=True)
        )
        directory, number = self._new_segment(view.name)
        with self._discarded_on_error(view.name, number):
            if survivors:
                sink = FileSink(directory, self._disk)
                summary = view.index.merge(segments, keep, sink)
                files = json.dumps([file.as_json() for file in sink.finish()])
            with self._transaction() as transaction:
                transaction.drop_segments(view.name, [item.number for item in chosen])
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
        for item in chosen:
            self._remove(self._directory / SEGMENTS / view.name / str(item.number))

    def _merge_when_due(self) -> bool:
        """One merge that the policy asks for; False when it asks for none."""
        with self._building:
            for name in self._names():
                with self._reader.pinned(tail=False) as pinned:
                    snapshot = pinned.snapshot
                view = snapshot.indexes[name]
                masks = live_masks(
                    [item.segment for item in view.stored],
                    snapshot.live if _worth_counting(snapshot.live, view) else None,
                )
                sizes = [
                    policy.SegmentSize(item.number, len(item.segment.rows), _dead(mask))
                    for item, mask in zip(view.stored, masks, strict=True)
                ]
                numbers = set(policy.choose_merge(sizes))
                if numbers:
                    chosen = [item for item in view.stored if item.number in numbers]
                    self._merge_segments(view, chosen, snapshot)
                    return True
        return False

    # -- the background thread --------------------------------------------------------------

    def _behind(self) -> list[str]:
        """Indexes that are behind: ids first, and last those whose encoders take their time."""
        with self._reader.pinned(tail=False) as pinned:
            views = [view for view in pinned.snapshot.indexes.values() if view.rows_behind]
        views.sort(key=lambda view: (view.name != IDS, view.encoder is not None))
        return [view.name for view in views]

    def _work(self) -> None:
        while not self._background_ends.is_set():
            self._wake.wait()
            time.sleep(_COALESCE_SECONDS)
            self._wake.clear()
            try:
                while not self._background_ends.is_set() and self._work_step():
                    pass
                self._failure = None
            except Exception as error:
                # Kept for describe(), wait_indexed() and the next wake-up, which tries again.
                self._failure = error.with_traceback(None)
            with self._idle:
                self._idle.notify_all()

    def _work_step(self) -> bool:
        """One piece, or one merge; what stops one index does not stop the others."""
        failure: Exception | None = None
        for name in self._behind():
            try:
                self._encode_piece(name, None)
                if self._index_piece(name, None):
                    with self._idle:
                        self._idle.notify_all()
                    return True
            except Exception as error:
                failure = failure or error
        if self._merge_when_due():
            return True
        if failure is not None:
            raise failure
        return False

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        if isinstance(self._failure, CormorantError):
            raise self._failure
        raise CormorantError(f"indexing in the background failed: {self._failure}") from (
            self._failure
        )

    # -- files ------------------------------------------------------------------------------

    def _new_segment(self, name: str) -> tuple[Path, int]:
        parent = self._directory / SEGMENTS / name
        taken = [int(path.name) for path in parent.glob("*") if _is_number(path.name)]
        number = max(taken, default=0) + 1
        return parent / str(number), number

    @contextmanager
    def _discarded_on_error(self, name: str, number: int) -> Iterator[None]:
        """Remove a half-written segment at once, rather than when the next writer opens.

        Never one that the catalog names: noting a commit in ``head`` can fail after the commit.
        """
        try:
            yield
        except BaseException:
            if not self._catalog.names_segment(name, number):
                self._remove(self._directory / SEGMENTS / name / str(number))
            raise

    def _remove(self, directory: Path) -> None:
        if directory.exists():
            with storage_errors(directory):
                self._disk.remove_tree(directory)

    def _remove_unnamed(self, snapshot: Snapshot) -> None:
        """Remove what an interrupted build or merge left: directories that no version names."""
        root = self._directory / SEGMENTS
        with storage_errors(root):
            self._disk.make_directory(root)  # copying tools drop empty directories
        for parent in [path for path in root.iterdir() if path.is_dir()]:
            view = snapshot.indexes.get(parent.name)
            named = set() if view is None else {str(item.number) for item in view.stored}
            for directory in list(parent.iterdir()):
                ours = directory.is_dir() and not directory.is_symlink()
                if ours and _is_number(directory.name) and directory.name not in named:
                    self._remove(directory)
            if view is None and not any(parent.iterdir()):
                self._remove(parent)


class _Ready(NamedTuple):
    """Ready vectors of one batch; the number of the first among all that were given."""

    values: Array
    first: int


class _Made(NamedTuple):
    """The encodings of one batch, None for what the background is to encode."""

    data: Sequence[bytes | None]
    made_by: JsonObject


class _Piece:
    """Chunks up to the bounds of one build, cut between documents; remembers where it ended."""

    def __init__(self, chunks: Iterator[Chunk], last_row: int) -> None:
        self._chunks = chunks
        self.end_row = last_row
        self.rows = 0

    def __iter__(self) -> Iterator[Chunk]:
        characters = 0
        for chunk in self._chunks:
            full = self.rows >= policy.SEGMENT_ROWS or characters >= policy.SEGMENT_CHARACTERS
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


def _cut(vectors: Array, start: int, end: int, name: str) -> Array:
    """The vectors of one batch; there must be one for each of its documents."""
    if end > len(vectors):
        raise InputError(
            f"{len(vectors)} vectors for more documents; one is needed for each",
            field=f"vectors[{name!r}]",
        )
    return vectors[start:end]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _last_row(snapshot: Snapshot, name: str) -> int:
    """Up to which row an index may be built: no further than every row has its id."""
    ids = snapshot.ids
    if name != IDS and ids.rows_behind:
        return ids.indexed_until
    return snapshot.state.next_row


def _spans(chunking: Chunking | None, document: Document) -> list[tuple[int, int]] | None:
    if chunking is None:
        return None
    spans = chunking.split(document.text)
    return spans if len(spans) > 1 else None


def _worth_counting(live: BoolArray | None, view: IndexView) -> bool:
    """Whether enough is deleted in all that some segment could be due for a rewrite."""
    smallest = min((len(item.segment.rows) for item in view.stored), default=0)
    return live is not None and _dead(live) >= policy.DEAD_SHARE * smallest


def _dead(mask: BoolArray | None) -> int:
    return 0 if mask is None else int(len(mask) - mask.sum())
