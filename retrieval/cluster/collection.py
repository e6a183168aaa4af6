"""A collection in shards: the calls of ``Collection``, with the answers of one collection."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ...contracts import IndexSettings
from ...documents import Document, JsonObject, check_text
from ...errors import CormorantError, InputError, UnknownNameError
from ...results import CheckReport, Result, Stored
from ...scrolling import Scroll, cursor_of, row_of
from ...tagged import to_json
from ..arguments import (
    Progress,
    When,
    checked_ids,
    checked_labels,
    checked_name,
    checked_settings,
    checked_vectors_by_index,
)
from ..batches import batches
from ..encodings import agreed
from ..filters import parse_filter
from ..pipeline import resolve
from ..ready_vectors import BatchVectors, ReadyVectors, check_unsplit
from ..searching import Request, Searching, run_search
from ..stored import stored_for
from ..writer import batch_bounds, spans_of
from .describing import describe_sharded
from .gathering import Gathering, ShardsLostError
from .layout import Layout
from .leases import Facts, Pin, VersionGoneError
from .placement import ROW_BITS, split_row
from .remote import RemoteView, ShardedVersion
from .router import Router
from .taking import take

PAGE = 500
_ASK_AGAIN_SECONDS = 0.05
_BEGUN_AGAIN = 3
"""So often a search starts anew whose version went down with the one replica that had it."""


class ShardedCollection(Searching):
    """Documents and their indexes in the shards of a cluster; :class:`~cormorant.Cluster` has it.

    Scores are those of one collection over all documents, for every index whose search is exact;
    of documents with equal scores at the last place any may be among the hits. Documents are
    walked through shard by shard, in each in the order they were added.

    A search asks every shard for one version. A shard that does not answer is an error that names
    it, or, with ``partial``, is left out: then the answer is that of the other shards alone, its
    flags name the shard, and ``result.shards`` are those that answered. A write is whole or absent
    in each shard; after an error, or a kill, documents that were given and not acknowledged may be
    there in some shards, and giving them again makes it whole.
    """

    def __init__(self, router: Router) -> None:
        self.path = router.path
        self.router = router

    def close(self) -> None:
        """Close every shard. Closing twice is fine."""
        self.router.close()

    def __enter__(self) -> ShardedCollection:
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
        """Add documents, replacing those whose ids exist; see :meth:`Collection.add`.

        Durable in every replica that is in step when it returns.
        """
        if index not in ("now", "later"):
            raise InputError(f"is 'now' or 'later', got {index!r}", field="index")
        ready = ReadyVectors(checked_vectors_by_index(vectors), documents)
        self.router.check_open()
        encoding = {name for name, encoder in self.router.encoders.items() if encoder is not None}
        total = 0
        bounds = batch_bounds(encoding, ready.names, index)
        for batch in batches(documents, self.__contains__, *bounds):
            self._add_batch(batch, ready.batch(total, total + len(batch)), index)
            total += len(batch)
            if progress is not None:
                progress("added", len(batch))
        ready.check_used(total)
        return total

    def _add_batch(
        self, batch: Sequence[Document], vectors: Mapping[str, BatchVectors], when: When
    ) -> None:
        # What cannot be used is refused before a shard gets any of it.
        if vectors and self.router.chunking is not None:
            check_unsplit(spans_of(self.router.chunking, document) for document in batch)
        with self.router.writing:
            facts = {name: self._accepted(name, own) for name, own in vectors.items()}
            places = self.router.by_shard(document.id for document in batch)
            # Before the write: one that only some shards have binds those to come.
            self.router.encoders = {**self.router.encoders, **facts}
            self._write({
                shard: (
                    "add",
                    [batch[number] for number in own],
                    {name: take(item.values, own) for name, item in vectors.items()},
                    when,
                )
                for shard, own in places.items()
            })  # fmt: skip

    def _write(self, parts: Mapping[int, tuple[Any, ...]]) -> None:
        try:
            self.router.write(parts)
        except CormorantError:
            with suppress(CormorantError):  # one that no shard has binds nobody
                self.router.learn_encoders()
            raise

    def _accepted(self, name: str, vectors: BatchVectors) -> JsonObject:
        index: Any = self.router.named[name].index
        made_by = index.accept(vectors.values, vectors.first).made_by
        return agreed(name, self.router.encoders.get(name) or {}, made_by)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents of these ids; returns how many of them there were."""
        names = checked_ids(ids)
        with self.router.writing:
            self.router.check_open()
            deleted = self.router.write({
                shard: ("delete", [names[number] for number in own])
                for shard, own in self.router.by_shard(names).items()
            })  # fmt: skip
            return sum(n for shard, n in deleted.items() if shard < self.router.layout.n_shards)

    def get(self, id: str, *, as_labels: Sequence[str] | None = None) -> Document | None:
        """The document of an id; None when there is none (or none that shares a label)."""
        check_text("id", id)
        labels = None if as_labels is None else checked_labels(as_labels)
        found: Document | None = self.router.ask_for(id, "get", id, labels)
        return found

    def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        after: str | None = None,
    ) -> Scroll:
        """The documents of one version, shard by shard, in each in the order they were added.

        ``after`` is the cursor of another walk, to go on where it stood; shards that were added
        since then make it begin again at some documents, and pass over others.
        """
        after_row = row_of(after)
        pin = self._checked_pin(filter, as_labels)
        self.router.check_open()

        def steps() -> Generator[tuple[str, Document]]:
            for shard, (row, document) in self._walk(pin, after_row, "scroll"):
                yield cursor_of(row | (shard << ROW_BITS)), document

        return Scroll(steps(), after)

    def vectors(self, index: str, *, named: bool = False) -> Iterator[tuple[str, Any]]:
        """(id, stored vector) of every document; see :meth:`Collection.vectors`."""
        if self.router.chunking is not None:
            raise InputError("documents are split here; a document has several vectors")
        self.router.check_open()
        kinds = {item.name: item.settings.kind for item in self.router.in_order()}
        name = resolve(index, kinds)
        return (item for _, item in self._walk(Pin(), -1, "vectors_of", name, named))

    def _walk(self, pin: Pin, after_row: int, method: str, *args: Any) -> Iterator[tuple[int, Any]]:
        """(shard, item) of every page of every shard, after a row."""
        with self.router.gathered(pin) as (gathering, _):
            first, within = split_row(after_row) if after_row >= 0 else (0, -1)
            for shard in gathering.shards:
                at: int | None = within if shard == first else -1
                while at is not None and shard >= first:
                    found, at = gathering.some(method, {shard: (*args, at, PAGE)})[shard]
                    for item in found:
                        yield shard, item

    def __len__(self) -> int:
        self.router.check_open()
        with self.router.gate.passing(self.router.limits.read_seconds * 1000):
            statuses = self.router.map(lambda shard: shard.ask("status"), self.router.serving)
        return sum(status.n_documents for status in statuses)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    # -- searching --------------------------------------------------------------------------

    @property
    def _split(self) -> bool:
        return self.router.chunking is not None

    def _answered(self, request: Request) -> list[Result]:
        pin = self._checked_pin(request.filter, request.as_labels)
        without: dict[int, str] = {}
        gone = 0
        while True:
            self.router.check_open()
            try:
                return self._answered_by_others(pin, request, without)
            except VersionGoneError:
                gone += 1
                if gone > _BEGUN_AGAIN:
                    raise
            except ShardsLostError as error:
                self.router.check_open()
                # Every step of a search sees the same shards: it begins again without the lost.
                without |= error.reasons
                if not request.deadline.partial or len(without) >= self.router.layout.n_shards:
                    raise
                flags = [f"{reason}, and was left out" for reason in error.reasons.values()]
                request.deadline.flags.extend(flags)

    def _answered_by_others(
        self, pin: Pin, request: Request, without: Mapping[int, str]
    ) -> list[Result]:
        with ExitStack() as held:

            def pinned(
                terms: Mapping[str, Sequence[Any]],
            ) -> tuple[Gathering, dict[int, Facts]]:
                gathering, facts = self.router.gather(pin, request.deadline, terms, without)
                held.callback(gathering.release)
                return gathering, facts

            version = ShardedVersion(pinned, self.router.named, self.router.routing)
            return run_search(version, request, split=self._split, load_later=self._load)

    def _load(self, documents: Sequence[int], rows: Sequence[int]) -> list[Stored]:
        self.router.check_open()
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for document in documents:
            shard, row = split_row(document)
            by_shard[shard].append(row)
        found = {
            row | (shard << ROW_BITS): item
            for shard, own in by_shard.items()
            for row, item in self.router.shards[shard].ask("read_latest", own).items()
        }
        return stored_for(found, documents, rows)

    def _served(self) -> Mapping[str, RemoteView]:
        self.router.check_open()
        return {
            item.name: RemoteView(item.settings, item.index, self.router.encoders.get(item.name), 0)
            for item in self.router.in_order()
        }

    @staticmethod
    def _checked_pin(filter: Mapping[str, Any] | None, as_labels: Sequence[str] | None) -> Pin:
        if filter is not None:
            parse_filter(filter)
        return Pin(filter, None if as_labels is None else checked_labels(as_labels))

    # -- indexes ----------------------------------------------------------------------------

    def add_index(
        self,
        name: str,
        settings: IndexSettings,
        *,
        index: When = "now",
        progress: Progress | None = None,
    ) -> None:
        """Add an index over the documents that are there; the others go on answering."""
        checked_name(name)
        checked_settings(settings)
        with self.router.writing:
            self.router.check_open()
            if name in self.router.named:
                raise InputError(f"there is an index {name!r} already", field="name")
            try:
                self.router.on_shards("add_index", name, settings, index)
            except BaseException:
                self.router.on_shards("drop_index", name)
                raise
            since = 1 + max((item.since for item in self.router.named.values()), default=0)
            entry = {"settings": to_json(settings), "since": since}
            self.router.note(
                replace(self.router.layout, indexes={**self.router.layout.indexes, name: entry})
            )
            self.router.name_indexes()
            self.router.encoders = self.router.known_encoders()

    def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        with self.router.writing:
            self.router.check_open()
            if name not in self.router.named:
                there = ", ".join(self.router.named)
                raise UnknownNameError(
                    f"there is no index {name!r}; there are: {there}", field="name"
                )
            rest = {key: value for key, value in self.router.layout.indexes.items() if key != name}
            self.router.note(replace(self.router.layout, indexes=rest))
            self.router.name_indexes()
            kept = {key: own for key, own in self.router.encoders.items() if key != name}
            self.router.encoders = kept
            self.router.on_shards("drop_index", name)

    @property
    def indexes(self) -> dict[str, IndexSettings]:
        """The settings of every index by its name."""
        return {item.name: item.settings for item in self.router.named.values()}

    def flush(self, *, progress: Progress | None = None) -> None:
        """Write every document that is only in the tail into segments; returns when durable."""
        self.router.check_open()
        self.router.look_after("flush")

    def merge(self, *, progress: Progress | None = None) -> None:
        """Make one segment of each index in each shard, and forget deleted documents for good."""
        self.router.check_open()
        self.router.look_after("merge")

    def wait_indexed(self, timeout_seconds: float | None = None) -> bool:
        """Wait until no index is behind in any shard; False when the time ran out first."""
        until = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        first = True
        while True:
            self.router.check_open()
            # Asked again and again, so that no thread of a shard is taken up by waiting.
            if all(self.router.ask_everyone("indexed", first)):
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _ASK_AGAIN_SECONDS))
            first = False

    # -- care -------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """What is in the collection, and in each shard: its replicas, and what it was asked."""
        self.router.check_open()
        return describe_sharded(self.router)

    def check(self) -> CheckReport:
        """Read every byte of every replica that is up, and report all that is wrong."""
        with self.router.writing:
            self.router.check_open()
            files, documents, problems = 0, 0, []
            for shard in self.router.shards:
                for place, (replica, report) in enumerate(shard.ask_each("check")):
                    where = f"shard {shard.shard} replica {replica.number}"
                    problems += [f"{where}: {problem}" for problem in report.problems]
                    files += report.files
                    documents += 0 if place else report.documents
            return CheckReport(files, documents, tuple(problems))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy it to a new directory, which is a cluster of this one collection.

        Writes wait meanwhile, so that all shards are copied as of one moment.
        """
        from .copying import back_up

        with self.router.writing:
            self.router.check_open()
            layout = Layout(self.router.layout.n_shards, len(self.router.shards[0].members))
            back_up({self.path.name: self.router}, Path(path), self.path.parent.parent, layout)

    def __repr__(self) -> str:
        return f"<ShardedCollection {self.path.name} in {self.router.layout.n_shards} shards>"
