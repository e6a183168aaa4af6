"""The collection: what a user holds. Documents in, results out; everything else is behind it."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from ..contracts import Allowed, Array, BoolArray, Explains, IndexSettings, Queries
from ..documents import Document, JsonObject, check_text
from ..errors import (
    CollectionExistsError,
    InputError,
    NotACollectionError,
    ReadOnlyError,
    UnknownNameError,
)
from ..indexers.chunking import Chunking
from ..indexers.table import INDEXES
from ..results import CheckReport, Result, Stored
from ..tagged import to_json
from .backup import copy_collection
from .catalog import create_catalog, verify_catalog
from .check import check_collection
from .disk import Disk, storage_errors
from .filters import filter_mask, label_mask, parse_filter
from .head import CATALOG, HEAD
from .ids import IDS
from .pipeline import AnyPipeline, Pipeline, as_pipeline, check_k
from .reader import Pinned, Reader
from .search import Search, stored_for
from .snapshot import SEGMENTS
from .stored import get_document, scroll_documents
from .writer import Progress, When, Writer

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MASKS_KEPT = 32


class Collection:
    """Documents and their indexes in one directory.

    Make one with :meth:`create` or :meth:`open`; use it as a context manager or :meth:`close` it.
    One process writes at a time, any number read; a search sees exactly one committed version.
    Methods may be called from several threads.
    """

    def __init__(self, path: Path, reader: Reader, writer: Writer | None) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._masks: OrderedDict[tuple[int, str], BoolArray] = OrderedDict()
        self._masks_lock = Lock()
        with reader.pinned(tail=False) as pinned:
            settings = json.loads(pinned.snapshot.state.settings)
        chunk = settings.get("chunk")
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
        if indexes is None:
            from ..indexers.bm25.settings import BM25

            indexes = {"bm25": BM25()}
        if not isinstance(indexes, Mapping):
            raise InputError(f"maps names to settings, got {indexes!r}", field="indexes")
        if chunk is not None and not isinstance(chunk, Chunking):
            raise InputError(f"is a Chunking or None, got {chunk!r}", field="chunk")
        stored = {
            name: json.dumps(to_json(_checked_settings(indexes[name])))
            for name in map(_checked_name, indexes)
        }
        _check_path(path)
        settings: JsonObject = {}
        if chunk is not None:
            settings["chunk"] = {"tokens": chunk.tokens, "overlap": chunk.overlap}
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
        # Made whole beside its place, then renamed: a kill leaves no half of a collection.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        with storage_errors(path):
            disk.make_directory(path.parent)
            try:
                disk.make_directory(draft / SEGMENTS)
                create_catalog(draft, json.dumps(settings), {IDS: "{}", **stored}, disk)
                disk.rename(draft, path)
            except BaseException:
                if draft.exists():
                    disk.remove_tree(draft)
                raise
            disk.sync_directory(path.parent)
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
            raise NotACollectionError(
                f"{path} is not a collection; Collection.create makes one, and so does "
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

        ``vectors`` maps names of dense indexes to ready vectors, (n_documents, dim), one row for
        each document in order; the index's own model is not asked then. A document whose title and
        text are those it had before keeps its vectors.

        Raises :class:`~cormorant.errors.InputError` for what is no document, an id given twice or
        a vector that cannot be used: the transaction it is in leaves nothing behind.
        """
        if index not in ("now", "later"):
            raise InputError(f"is 'now' or 'later', got {index!r}", field="index")
        given = _arrays(vectors)
        return self._writing.add(documents, self._chunking, given, index, progress)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents of these ids; returns how many of them there were."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InputError(f"expected a list of ids, got {ids!r}; put it into a list")
        names = list(ids)
        for name in names:
            check_text("id", name)
        return self._writing.delete(list(dict.fromkeys(names)))

    def get(self, id: str, *, as_labels: Sequence[str] | None = None) -> Document | None:
        """The document of an id; None when there is none (or none that shares a label)."""
        check_text("id", id)
        with self._reader.pinned(tail=False) as pinned:
            document = get_document(pinned.connection, self._reader.catalog, id)
        if document is not None and as_labels is not None:
            return document if set(document.labels) & set(_labels(as_labels)) else None
        return document

    def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        after: str | None = None,
    ) -> Iterator[Document]:
        """The documents of one committed version in the order they were added.

        ``after`` continues behind the document of that id. The version stays until the walk ends,
        or is closed; writers are not held up, but their log grows meanwhile.
        """
        if after is not None:
            check_text("after", after)
        if filter is not None:
            parse_filter(filter)
        if as_labels is not None:
            _labels(as_labels)
        return self._scroll(filter, as_labels, after)

    def _scroll(
        self,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        after: str | None,
    ) -> Iterator[Document]:
        with self._reader.pinned(tail=False) as pinned:
            allowed = self._allowed(pinned, filter, as_labels)
            after_row = -1
            if after is not None:
                found = pinned.connection.execute("SELECT row FROM ids WHERE id = ?", (after,))
                place = found.fetchone()
                visible = allowed.visible
                if place is None or (visible is not None and not visible[place[0]]):
                    raise UnknownNameError(f"there is no document {after!r}", field="after")
                after_row = place[0]
            for row, document in scroll_documents(
                pinned.connection, self._reader.catalog, after_row
            ):
                if all(mask is None or mask[row] for mask in allowed):
                    yield document

    def __len__(self) -> int:
        with self._reader.pinned(tail=False) as pinned:
            return pinned.snapshot.state.n_documents

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    # -- searching --------------------------------------------------------------------------

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        explain: bool = False,
    ) -> Result:
        """The k best documents for a query, with their documents read.

        ``filter`` restricts the candidates before ranking (see :mod:`cormorant.retrieval.filters`).
        ``as_labels`` limits hits, statistics and explanations to documents that share one of these
        labels; None sees everything.
        """
        if not isinstance(query, str):
            raise InputError(f"is a string, got {type(query).__name__}", field="query")
        return self._search([query], k, pipeline, filter, as_labels, explain, load=True)[0]

    def search_batch(
        self,
        queries: Sequence[str] | None = None,
        k: int = 10,
        *,
        vectors: Any = None,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        explain: bool = False,
    ) -> list[Result]:
        """:meth:`search` for many queries over one version; much faster than one by one.

        The documents behind the hits are read when they are first asked for, or by
        ``result.load()``; do so before closing the collection.

        ``vectors``, (n_queries, dim), are ready query vectors in the place of ``queries``, for a
        pipeline of one dense index.
        """
        if vectors is not None:
            if queries is not None:
                raise InputError("takes queries or vectors, not both", field="vectors")
            given = _matrix(vectors, "vectors")
            return self._search(given, k, pipeline, filter, as_labels, explain, load=False)
        if queries is None:
            raise InputError("is a list of strings; or give vectors", field="queries")
        if isinstance(queries, str):
            raise InputError("is a list of strings, got one string", field="queries")
        queries = list(queries)
        for query in queries:
            if not isinstance(query, str):
                raise InputError(f"is a list of strings, got {query!r:.80} in it", field="queries")
        return self._search(queries, k, pipeline, filter, as_labels, explain, load=False)

    def _search(
        self,
        queries: Queries,
        k: int,
        pipeline: AnyPipeline,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        explain: bool,
        load: bool,
    ) -> list[Result]:
        check_k(k)
        with self._reader.pinned() as pinned:
            plan = self._plan(pinned, pipeline)
            search = Search(
                pinned,
                self._reader.catalog,
                self._allowed(pinned, filter, as_labels),
                split=self._chunking is not None,
            )
            if len(queries) == 0:
                return []
            k = min(k, max(1, pinned.snapshot.state.n_documents))
            ranking = search.run(plan, queries, k)

            def explainer(number: int, rows: list[int]) -> list[JsonObject]:
                return search.explain(plan, str(queries[number]), number, rows)

            # What explains, or is to be read with the search, must be read inside its transaction.
            now = load or explain
            loader = (
                partial(stored_for, pinned.connection, self._reader.catalog) if now else self._load
            )
            answers = search.answers(ranking, loader, explainer if explain else None)
            results = answers.results()
            if now:
                with search.timed("documents"):
                    for result in results:
                        result.load()
                answers.forget_source()  # a kept result must not keep a whole version mapped
            return results

    def highlights(self, query: str, text: str, index: str | None = None) -> list[tuple[int, int]]:
        """Character spans of ``text`` whose words match the query, for showing a snippet."""
        with self._reader.pinned(tail=False) as pinned:
            for name, view in pinned.snapshot.searchable.items():
                if name == (index or name) and isinstance(view.index, Explains):
                    return view.index.highlights(query, text)
        return []

    def _plan(self, pinned: Pinned, pipeline: AnyPipeline) -> Pipeline:
        kinds = {
            name: view.settings.kind
            for name, view in pinned.snapshot.searchable.items()
            if view.settings is not None
        }
        if not kinds:
            raise InputError("this collection has no index to search; add one with add_index")
        return as_pipeline(pipeline, kinds)

    def _allowed(
        self,
        pinned: Pinned,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
    ) -> Allowed:
        """The masks of a search; the same objects for the same question to the same version."""
        visible = pinned.snapshot.live
        n_rows = pinned.snapshot.state.next_row
        commit = pinned.snapshot.commit
        if as_labels is not None:
            labels = _labels(as_labels)
            live = visible

            def visible_rows() -> BoolArray:
                mask = label_mask(pinned.connection, labels, n_rows)
                return mask if live is None else mask & live

            visible = self._mask((commit, f"labels {json.dumps(labels)}"), visible_rows)
        selected = None
        if filter is not None:
            condition = parse_filter(filter)
            selected = self._mask(
                (commit, f"filter {condition!r}"),
                lambda: filter_mask(pinned.connection, condition, n_rows),
            )
        return Allowed(visible, selected)

    def _mask(self, key: tuple[int, str], compute: Any) -> BoolArray:
        with self._masks_lock:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask: BoolArray = compute()
        mask.flags.writeable = False
        with self._masks_lock:
            self._masks[key] = mask
            for stale in [old for old in self._masks if old[0] < key[0]]:
                del self._masks[stale]
            while len(self._masks) > _MASKS_KEPT:
                self._masks.popitem(last=False)
        return mask

    def _load(self, documents: Sequence[int], rows: Sequence[int]) -> list[Stored]:
        with self._reader.pinned(tail=False) as pinned:
            return stored_for(pinned.connection, self._reader.catalog, documents, rows)

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
        self._writing.add_index(_checked_name(name), _checked_settings(settings), index, progress)

    def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        self._writing.drop_index(name)

    @property
    def indexes(self) -> dict[str, IndexSettings]:
        """The settings of every index by its name."""
        with self._reader.pinned(tail=False) as pinned:
            return {
                name: view.settings
                for name, view in pinned.snapshot.searchable.items()
                if view.settings is not None
            }

    def flush(self, *, progress: Progress | None = None) -> None:
        """Write every document that is only in the tail into segments; returns when durable."""
        self._writing.flush(progress)

    def merge(self) -> None:
        """Make one segment of each index, and forget deleted documents for good."""
        self._writing.merge()

    def wait_indexed(self, timeout_seconds: float | None = None) -> bool:
        """Wait until no index is behind; False when the time ran out first.

        Raises the error that stopped the indexing in the background, if one did.
        """
        return self._writing.wait_indexed(timeout_seconds)

    # -- care -------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """What is in the collection: documents, version, indexes with their sizes in bytes."""
        with self._reader.pinned(tail=False) as pinned:
            snapshot = pinned.snapshot
            indexes = {}
            for name, view in snapshot.searchable.items():
                assert view.settings is not None
                indexes[name] = {
                    **to_json(view.settings),
                    **view.index.describe([item.segment for item in view.stored]),
                    **({} if view.encoder is None else {"encoder": view.encoder}),
                    **({} if view.encoder is None else {"made_by": view.encoder}),
                    "segments": len(view.stored),
                    "bytes": sum(item.size for item in view.stored),
                    "tail_rows": max(0, snapshot.state.next_row - view.tail_start),
                    "rows_behind": view.rows_behind,
                }
            failure = None if self._writer is None else self._writer.failure
            return {
                "path": str(self.path),
                "documents": snapshot.state.n_documents,
                "version": snapshot.commit,
                "indexes": indexes,
                "catalog_bytes": (self.path / CATALOG).stat().st_size,
                "ids_bytes": sum(item.size for item in snapshot.ids.stored),
                "background_error": None if failure is None else str(failure),
            }

    def check(self) -> CheckReport:
        """Read every byte and report all that is wrong: rows, files, segments, and their accord."""
        with nullcontext() if self._writer is None else self._writer.paused():
            return check_collection(self._reader)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy one committed version to a new directory, which is a collection of its own."""
        target = Path(path)
        _check_path(target)
        if target.absolute().is_relative_to(self.path):
            raise InputError(f"{target} is inside the collection itself", field="path")
        with nullcontext() if self._writer is None else self._writer.paused():
            copy_collection(self._reader, target, Disk())

    @classmethod
    def restore(cls, backup: str | os.PathLike[str], path: str | os.PathLike[str]) -> Collection:
        """Check a backup, copy it to ``path``, where nothing may be yet, and open the copy."""
        target = Path(path)
        _check_path(target)
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

    def _as_created(self) -> tuple[dict[str, str], JsonObject]:
        with self._reader.pinned(tail=False) as pinned:
            snapshot = pinned.snapshot
            stored = {name: view.settings_json for name, view in snapshot.searchable.items()}
            return stored, json.loads(snapshot.state.settings)

    def __repr__(self) -> str:
        return f"<Collection {self.path.name}>"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or name == IDS or not _NAME.fullmatch(name):
        raise InputError(
            f"an index name has up to 64 of a-z, 0-9, '_' and '-', begins with a letter or digit, "
            f"and is not {IDS!r}; got {name!r}",
            field="name",
        )
    return name


def _checked_settings(settings: Any) -> IndexSettings:
    if getattr(settings, "kind", None) not in INDEXES or isinstance(settings, type):
        raise InputError(
            f"expected index settings such as BM25(), got {settings!r}", field="indexes"
        )
    checked: IndexSettings = settings
    checked.index()  # what cannot be opened must not be written down
    return checked


def _check_path(path: Path) -> None:
    if "\0" in str(path):
        raise InputError("a path has no NUL in it", field="path")
    if path.name in ("", ".."):
        raise InputError(
            f"{str(path)!r} names no directory to create; '..' is no name", field="path"
        )


def _arrays(vectors: Mapping[str, Any] | None) -> dict[str, Array]:
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        raise InputError(
            f"maps names of indexes to arrays, got {type(vectors).__name__}", field="vectors"
        )
    return {name: _matrix(value, f"vectors[{name!r}]") for name, value in vectors.items()}


def _matrix(vectors: Any, field: str) -> Array:
    try:
        array = np.asarray(vectors)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"is an array (n, dim): {error}", field=field) from None
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"is an array (n, dim) of numbers, got {array.dtype} of shape {array.shape}",
            field=field,
        )
    return array


def _labels(as_labels: Sequence[str]) -> list[str]:
    labels: list[Any] = [as_labels] if isinstance(as_labels, str) else list(as_labels)
    if isinstance(as_labels, str) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"is a list of strings, got {as_labels!r}", field="as_labels")
    for label in labels:
        check_text("as_labels", label)
    return sorted(set(labels))
