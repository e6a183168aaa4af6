"""The collection: what a user holds. Documents in, results out; everything else is behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from ..contracts import IndexSettings
from ..documents import Document, JsonObject, check_text
from ..errors import (
    CollectionExistsError,
    InputError,
    NotACollectionError,
    ReadOnlyError,
)
from ..indexers.chunking import Chunking
from ..results import CheckReport, Result, Stored
from ..scrolling import Scroll, cursor_of, row_of
from ..tagged import to_json
from .arguments import (
    Progress,
    When,
    check_path,
    checked_ids,
    checked_labels,
    checked_name,
    checked_settings,
    checked_vectors_by_index,
)
from .backup import copy_collection
from .catalog import verify_catalog
from .check import check_collection
from .create import as_created, create_collection
from .describe import describe_collection
from .disk import Disk, storage_errors
from .exporting import vectors_of
from .filters import parse_filter
from .head import CATALOG, HEAD
from .masks import Masks
from .pipeline import resolve
from .reader import Reader
from .searching import Request, Searching, run_search
from .snapshot import SEGMENTS, IndexView
from .stored import get_document, read_documents, scroll_documents, stored_for
from .version import LocalVersion
from .writer import Writer


class Collection(Searching):
    """Documents and their indexes in one directory.

    Make one with :meth:`create` or :meth:`open`; use it as a context manager or :meth:`close` it.
    One process writes at a time, any number read; a search sees exactly one committed version.
    Methods may be called from several threads.
    """

    def __init__(self, path: Path, reader: Reader, writer: Writer | None) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._masks = Masks()
        chunk = json.loads(reader.snapshot().state.settings).get("chunk")
        self._chunking = None if chunk is None else Chunking(**chunk)

    # -- opening ----------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        indexes: Mapping[str, IndexSettings] | None = None,
        *,
        chunk: Chunking | None = None,
        exist_ok: bool = False,
    ) -> Collection:
        """Create an empty collection and open it for writing.

        ``indexes`` maps names to settings, ``{"bm25": BM25()}`` when left out. ``chunk`` splits
        long documents into passages. With ``exist_ok`` a collection that is there already, with
        the same indexes and chunking, is opened instead.

        Raises :class:`~cormorant.errors.CollectionExistsError` when something is at ``path``, and
        :class:`~cormorant.errors.InputError` for a bad name.
        """
        return cls._create(Path(path), indexes, chunk, exist_ok, Disk())

    @classmethod
    def _create(
        cls,
        path: Path,
        indexes: Mapping[str, IndexSettings] | None,
        chunk: Chunking | None,
        exist_ok: bool,
        disk: Disk,
    ) -> Collection:
        named, pieces = as_created(indexes, chunk)
        stored = {name: json.dumps(to_json(own)) for name, own in named.items()}
        check_path(path)
        settings: JsonObject = {} if pieces is None else {"chunk": pieces}
        with storage_errors(path):
            exists = path.exists()
        if exists:
            if not exist_ok:
                raise CollectionExistsError(
                    f"{path} exists; open it with Collection.open, or pass exist_ok=True"
                )
            opened = cls._open(path, False, disk)
            if opened._as_created() != (stored, settings):
                there = opened._as_created()
                opened.close()
                raise InputError(
                    f"{path} exists with other settings: {there}, not {(stored, settings)}"
                )
            return opened
        create_collection(path, settings, stored, disk)
        return cls._open(path, False, disk)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False) -> Collection:
        """Open a collection, verifying its catalog and every segment first.

        Raises :class:`~cormorant.errors.NotACollectionError`,
        :class:`~cormorant.errors.LockedError` (another process writes; ``read_only=True`` always
        goes), :class:`~cormorant.errors.FormatVersionError`, or
        :class:`~cormorant.errors.CorruptionError`, naming the file.
        """
        return cls._open(Path(path), read_only, Disk())

    @classmethod
    def _open(cls, path: Path, read_only: bool, disk: Disk) -> Collection:
        names = {CATALOG, HEAD, SEGMENTS}
        if not path.is_dir() or not any((path / name).exists() for name in names):
            what = "is a file, not" if path.is_file() else "is not"
            raise NotACollectionError(
                f"{path} {what} a collection; Collection.create makes one, and so does "
                "'cormorant index'"
            )
        path = path.absolute()
        reader = Reader(path)
        if read_only:
            verify_catalog(path)
            return cls(path, reader, None)
        writer = Writer(path, disk, reader)
        try:
            collection = cls(path, reader, writer)
        except BaseException:
            writer.close()
            raise
        writer.start()
        return collection

    def close(self) -> None:
        """Write what is worth a file, release the lock and the files. Closing twice is fine."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        finally:
            self._reader.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- documents --------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document],
        *,
        vectors: Mapping[str, Any] | None = None,
        index: When = "now",
        progress: Progress | None = None,
    ) -> int:
        """Add documents, replacing those whose ids exist; returns how many were given.

        Durable when it returns, and found by the next search. A long stream is written in several
        transactions, each of them whole. ``index="later"`` returns once the documents are durable
        and indexes them in the background (:meth:`wait_indexed`); until then results are flagged
        with the indexes that are behind.

        ``vectors`` maps names of indexes to ready vectors, a row for each document in order, in any
        form of :func:`~cormorant.vectors.checked_vectors`; the index's own model is not asked then.
        A document whose title and text are those it had before keeps its vectors.

        Raises :class:`~cormorant.errors.InputError` for what is no document, an id given twice or
        a vector that cannot be used: the transaction it is in leaves nothing behind.
        """
        if index not in ("now", "later"):
            raise InputError(f"is 'now' or 'later', got {index!r}", field="index")
        given = checked_vectors_by_index(vectors)
        return self._writing.add(documents, self._chunking, given, index, progress)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents of these ids; returns how many of them there were."""
        return self._writing.delete(checked_ids(ids))

    def get(self, id: str, *, as_labels: Sequence[str] | None = None) -> Document | None:
        """The document of an id; None when there is none (or none that shares a label)."""
        check_text("id", id)
        with self._reader.pinned(tail=False) as pinned:
            document = get_document(pinned.connection, self._reader.catalog, id)
        if document is not None and as_labels is not None:
            return document if set(document.labels) & set(checked_labels(as_labels)) else None
        return document

    def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        after: str | None = None,
    ) -> Scroll:
        """The documents of one committed version in the order they were added.

        ``after`` is the cursor of another walk, to go on where it stood. The version stays until
        the walk ends, or is closed; writers are not held up, but their log grows meanwhile.
        """
        after_row = row_of(after)
        if filter is not None:
            parse_filter(filter)
        if as_labels is not None:
            checked_labels(as_labels)
        return Scroll(self._scroll(filter, as_labels, after_row), after)

    def _scroll(
        self,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        after_row: int,
    ) -> Generator[tuple[str, Document]]:
        with self._reader.pinned(tail=False) as pinned:
            allowed = self._masks.allowed(pinned, filter, as_labels)
            for row, document in scroll_documents(
                pinned.connection, self._reader.catalog, after_row
            ):
                if all(mask is None or mask[row] for mask in allowed):
                    yield cursor_of(row), document

    def vectors(self, index: str, *, named: bool = False) -> Iterator[tuple[str, Any]]:
        """(id, stored vector) of every document, in the order they were added.

        Of a dense index (dim,) float32; of a sparse one its terms with their weights, as
        ``add(vectors=...)`` takes them, or, ``named``, by the tokens that numbers stand for; of a
        BM25 index its terms and how often they occur. NaN, or no terms, where the index does not
        hold a document yet. For collections whose documents are not split.
        """
        if self._chunking is not None:
            raise InputError("documents are split here; a document has several vectors")
        return self._vectors(resolve(index, self._reader.snapshot().kinds), named)

    def _vectors(self, name: str, named: bool) -> Iterator[tuple[str, Any]]:
        with self._reader.pinned() as pinned:
            yield from vectors_of(
                pinned.connection, self._reader.catalog, pinned.snapshot, name, named
            )

    def __len__(self) -> int:
        return self._reader.snapshot().state.n_documents

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    # -- indexes ----------------------------------------------------------------------------

    def add_index(
        self,
        name: str,
        settings: IndexSettings,
        *,
        index: When = "now",
        progress: Progress | None = None,
    ) -> None:
        """Add an index over the documents that are there; the others go on answering.

        A kill loses at most the piece being built: opened again, the build continues by itself.
        """
        self._writing.add_index(checked_name(name), checked_settings(settings), index, progress)

    def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        self._writing.drop_index(name)

    @property
    def indexes(self) -> dict[str, IndexSettings]:
        """The settings of every index by its name."""
        return {
            name: view.settings
            for name, view in self._reader.snapshot().searchable.items()
            if view.settings is not None
        }

    def flush(self, *, progress: Progress | None = None) -> None:
        """Write every document that is only in the tail into segments; returns when durable."""
        self._writing.flush(progress)

    def merge(self, *, progress: Progress | None = None) -> None:
        """Make one segment of each index, and forget deleted documents for good.

        One that was killed, or stopped by an error, goes on with what a long merge had finished.
        """
        self._writing.merge(progress)

    def wait_indexed(self, timeout_seconds: float | None = None) -> bool:
        """Wait until no index is behind; False when the time ran out first.

        Raises the error that stopped the indexing in the background, if one did.
        """
        return self._writing.wait_indexed(timeout_seconds)

    # -- care -------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """What is in the collection: documents, version, indexes with their sizes in bytes."""
        failure = None if self._writer is None else self._writer.failure
        return describe_collection(self._reader, failure)

    def check(self) -> CheckReport:
        """Read every byte and report all that is wrong: rows, files, segments, and their accord."""
        with nullcontext() if self._writer is None else self._writer.paused():
            return check_collection(self._reader)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy one committed version to a new directory, which is a collection of its own."""
        target = Path(path)
        check_path(target)
        if target.absolute().is_relative_to(self.path):
            raise InputError(f"{target} is inside the collection itself", field="path")
        with nullcontext() if self._writer is None else self._writer.paused():
            copy_collection(self._reader, target, Disk())

    @classmethod
    def restore(cls, backup: str | os.PathLike[str], path: str | os.PathLike[str]) -> Collection:
        """Check a backup, copy it to ``path``, where nothing may be yet, and open the copy."""
        target = Path(path)
        check_path(target)
        with cls.open(backup, read_only=True) as source:
            copy_collection(source._reader, target, Disk())
        return cls.open(target)

    # -- inside -----------------------------------------------------------------------------

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise ReadOnlyError(
                f"{self.path} is closed or open for reading only; open it for writing with "
                "Collection.open(path)"
            )
        return self._writer

    @property
    def _split(self) -> bool:
        return self._chunking is not None

    @contextmanager
    def _version(self) -> Iterator[LocalVersion]:
        with self._reader.pinned() as pinned:
            yield LocalVersion(pinned, self._reader.catalog, self._masks)

    def _answered(self, request: Request) -> list[Result]:
        with self._version() as version:
            return run_search(version, request, split=self._split, load_later=self._load)

    def _served(self) -> Mapping[str, IndexView]:
        return self._reader.snapshot().searchable

    def _load(self, documents: Sequence[int], rows: Sequence[int]) -> list[Stored]:
        with self._reader.pinned(tail=False) as pinned:
            found = read_documents(pinned.connection, self._reader.catalog, documents)
            return stored_for(found, documents, rows)

    def _as_created(self) -> tuple[dict[str, str], JsonObject]:
        snapshot = self._reader.snapshot()
        settings = json.loads(snapshot.state.settings)
        settings.pop("write", None)
        return {name: view.settings_json for name, view in snapshot.searchable.items()}, settings

    def __repr__(self) -> str:
        return f"<Collection {self.path.name}>"
