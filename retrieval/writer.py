"""The one writer of a collection: documents in, segments out, nothing lost.

``add`` and ``delete`` are transactions of the catalog; when they return, the change is durable and
the next search finds it (in the tail). Segments follow: built from the catalog's rows, made
durable, then named by a transaction. A kill anywhere leaves the version before or the one after;
directories that no version names are removed when the next writer opens.

This module says what is done when. Who does it has the state and the lock of it: the
:class:`Builder` (one build, merge or change of the index list at a time), its :class:`RowEncoder`
(one encoder at a time works for an index's builds), the :class:`SharedCatalog` (one transaction at
a time), and the :class:`Background` that runs the builder. Locks are always taken in this order:
the builder's, one of the encoder's, the catalog's. Encoding takes long: it is done before the
builder's lock is taken, wherever that can be, so that it holds nobody up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..contracts import Encodes, IndexSettings
from ..documents import Document
from ..errors import InputError, MissingDependencyError, ModelNotFoundError, UnknownNameError
from ..indexers.chunking import Chunking
from ..tagged import to_json
from ..vectors import Given
from . import policy
from .arguments import Progress, When
from .background import Background
from .batches import batches
from .building import Builder
from .disk import Disk
from .encoding import BatchEncodings, encode_batch
from .ids import IDS
from .reader import Reader
from .ready_vectors import BatchVectors, ReadyVectors
from .segment_directories import SegmentDirectories
from .shared_catalog import SharedCatalog


class Writer:
    """Adds, deletes, builds and merges. Safe to call from several threads."""

    def __init__(self, directory: Path, disk: Disk, reader: Reader) -> None:
        self._reader = reader
        self._catalog = SharedCatalog(directory, disk)
        self._directories = SegmentDirectories(directory, disk, self._catalog)
        self._builder = Builder(reader, disk, self._catalog, self._directories)
        self._background = Background(reader, self._catalog, self._builder)
        self._unindexed_characters = 0
        try:
            self._directories.remove_unnamed(reader.snapshot())
        except BaseException:
            self._catalog.close()
            raise

    # -- documents --------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document],
        chunking: Chunking | None,
        vectors: Mapping[str, Given],
        when: When,
        progress: Progress | None,
        write: int | None = None,
    ) -> int:
        """Add or replace documents; returns how many were given.

        ``vectors``: for some indexes, the ready vectors of all documents. ``write``: the number of
        this write in a cluster, kept with it; it is one transaction, so that who knows the number
        has all of it.
        """
        ready = ReadyVectors(vectors, documents)
        total = 0
        bounds = self._batch_bounds(ready, when)
        if write is not None:
            bounds = sys.maxsize, sys.maxsize
        pieces = False
        try:
            with ExitStack() as own:
                for batch in batches(documents, self._present, *bounds):
                    spans = [spans_of(chunking, document) for document in batch]
                    given = ready.batch(total, total + len(batch))
                    self._add_batch(batch, spans, given, when, write)
                    total += len(batch)
                    if progress is not None:
                        progress("added", len(batch))
                    if when == "now" and self._is_due(policy.SEGMENT_ROWS):
                        if not pieces:
                            own.enter_context(self._builder.adding())
                        pieces = True
                        self._index_all(progress, deferred=False, more=True)
            ready.check_used(total)
            if pieces and self._builder.postponed():
                self._index_all(progress, deferred=False)
            elif when == "now":
                self._index_when_due(policy.TAIL_ROWS, progress)
        finally:
            self._background.wake()
        return total

    def add_encoded(
        self,
        documents: Sequence[Document],
        chunking: Chunking | None,
        encodings: Mapping[str, BatchEncodings],
        write: int,
    ) -> None:
        """Add documents of a collection like this one, with the encodings that they have there."""
        spans = [spans_of(chunking, document) for document in documents]
        whole = all(None not in own.data for own in encodings.values())
        self._add_batch(documents, spans, encodings, "now" if whole else "later", write)
        if whole:
            self._index_when_due(policy.SEGMENT_ROWS, None)
        self._background.wake()

    def _batch_bounds(self, ready: ReadyVectors, when: When) -> tuple[int, int]:
        views = self._reader.snapshot().indexes
        encoding = {name for name, view in views.items() if view.encoder is not None}
        return batch_bounds(encoding, ready.names, when)

    def _present(self, name: str) -> bool:
        with self._reader.pinned(tail=False) as pinned:
            found = pinned.connection.execute("SELECT 1 FROM ids WHERE id = ?", (name,))
            return found.fetchone() is not None

    def _add_batch(
        self,
        batch: Sequence[Document],
        spans: Sequence[Sequence[tuple[int, int]] | None],
        vectors: Mapping[str, BatchVectors | BatchEncodings],
        when: When,
        write: int | None = None,
    ) -> None:
        """Encode a batch, outside every transaction, then add it with its encodings in one.

        With ``when="later"`` the background encodes what is neither given nor known. What
        another ``add`` made searchable in a tail would vanish behind the new mark, so tails are
        written first.
        """
        made: dict[tuple[str, str], BatchEncodings] = {}
        while True:
            views = self._reader.snapshot().indexes
            keys = {
                name: (name, view.settings_json)
                for name, view in views.items()
                if view.encoder is not None
            }
            for name, key in keys.items():
                if key not in made:
                    given = vectors.get(name)
                    made[key] = (
                        given
                        if isinstance(given, BatchEncodings)
                        else encode_batch(self._reader, views[name], batch, spans, given, when)
                    )
            with self._catalog.held() as catalog:
                self._catalog.check_open()
                settings = {name: view.settings_json for name, view in views.items()}
                if catalog.index_settings() != settings:
                    continue  # an index came or went meanwhile
                if when == "now" or catalog.unindexed_rows() == 0:
                    data = {name: made[key].data for name, key in keys.items()}
                    with catalog.transaction() as transaction:
                        for name, key in keys.items():
                            transaction.note_encoder(name, made[key].made_by)
                        transaction.add_documents(batch, spans, data)
                        if when == "later":
                            transaction.defer_indexes()
                        if write is not None:
                            transaction.note_write(write)
                    self._unindexed_characters += sum(
                        len(item.title) + len(item.text) for item in batch
                    ) + sum(len(item or b"") for items in data.values() for item in items)
                    return
            self._index_all(None)

    def delete(self, ids: Sequence[str], write: int | None = None) -> int:
        """Delete documents; returns how many of the ids there were. ``write``: as for ``add``."""
        with self._catalog.transaction() as transaction:
            deleted = transaction.delete(ids)
            if write is not None:
                transaction.note_write(write)
        self._background.wake()
        return deleted

    # -- segments ---------------------------------------------------------------------------

    def flush(self, progress: Progress | None = None) -> None:
        """Write every row that is in no file yet into segments, then checkpoint the catalog."""
        self._index_all(progress)
        with self._catalog.held() as catalog:
            catalog.checkpoint()
        self._background.wake()

    def merge(self, progress: Progress | None = None) -> None:
        """Flush, merge every index into one segment, and forget deleted documents for good."""
        self._index_all(progress)  # most of the work, and all of the encoding, holding nobody up
        with self._builder.held():
            self._index_all(progress)
            for name in self._reader.snapshot().names:
                self._builder.merge_into_one(name, progress)
            with self._catalog.transaction() as transaction:
                transaction.purge()
            with self._catalog.held() as catalog:
                catalog.checkpoint()

    def _index_when_due(self, rows: int, progress: Progress | None) -> None:
        if self._is_due(rows):
            self._index_all(progress, deferred=False)

    def _is_due(self, rows: int) -> bool:
        with self._catalog.held() as catalog:
            waiting = catalog.unindexed_rows()
        return waiting >= rows or (
            rows > 1 and self._unindexed_characters >= policy.SEGMENT_CHARACTERS
        )

    def _index_all(
        self, progress: Progress | None, *, deferred: bool = True, more: bool = False
    ) -> None:
        self._unindexed_characters = 0
        for name in self._reader.snapshot().names:
            if deferred or not self._is_behind(name):
                self._builder.build(name, progress, more=more)

    def _is_behind(self, name: str) -> bool:
        view = self._reader.snapshot().indexes.get(name)
        return view is not None and view.rows_behind > 0

    # -- indexes ----------------------------------------------------------------------------

    def add_index(
        self, name: str, settings: IndexSettings, when: When, progress: Progress | None
    ) -> None:
        """Add an index over the documents that are there, piece by durable piece."""
        with self._builder.held(), self._catalog.transaction() as transaction:
            if name in self._reader.snapshot().indexes:
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
                    self._builder.build(each, progress)
            except (InputError, ModelNotFoundError, MissingDependencyError):
                self.drop_index(name)  # time will not mend it
                raise
        self._background.wake()

    def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        with self._builder.held():
            names = list(self._reader.snapshot().searchable)
            if name not in names:
                raise UnknownNameError(
                    f"there is no index {name!r}; there are: {', '.join(names)}", field="name"
                )
            with self._catalog.transaction() as transaction:
                transaction.drop_index(name)
            self._directories.remove_index(name)

    # -- the background, and closing --------------------------------------------------------

    def start(self) -> None:
        """Start the background thread: what ``index="later"`` left to do, and merges."""
        self._background.start()

    def stop_background(self) -> None:
        """End the background thread, waiting for the task it is at."""
        self._background.stop()

    def wait_indexed(self, timeout_seconds: float | None) -> bool:
        """Wait until no index is behind; False when the time ran out first.

        Raises what stopped the background thread, if something did.
        """
        return self._background.wait_indexed(timeout_seconds)

    @property
    def failure(self) -> Exception | None:
        """What stopped the background thread's last task."""
        return self._background.failure

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No build and no merge while the block runs."""
        with self._builder.held():
            yield

    def close(self) -> None:
        """Stop the background thread, write the tail if it is worth a file, release the lock."""
        self._catalog.begin_closing(self._background.end())
        try:
            self.stop_background()
            if not self._catalog.forked:
                self._index_when_due(policy.CLOSE_ROWS, None)
        finally:
            self._catalog.close()


def batch_bounds(encoding: Set[str], ready: Set[str], when: When) -> tuple[int, int]:
    """At most how many documents and characters one transaction of ``add`` takes.

    ``encoding``: the indexes that go through an encoder; ``ready``: those vectors were given for.
    """
    for name in ready:
        if name not in encoding:
            there = ", ".join(sorted(encoding)) or "none"
            raise UnknownNameError(
                f"no index {name!r} takes vectors; these do: {there}", field="vectors"
            )
    if when == "now" and encoding - ready:
        return policy.ENCODED_DOCUMENTS, policy.ENCODED_CHARACTERS
    return policy.BATCH_DOCUMENTS, policy.BATCH_CHARACTERS


def spans_of(chunking: Chunking | None, document: Document) -> list[tuple[int, int]] | None:
    """The passages of a document; None where it is one."""
    if chunking is None:
        return None
    spans = chunking.split(document.text)
    return spans if len(spans) > 1 else None
