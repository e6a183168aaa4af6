"""What runs where a shard's documents are: an ordinary collection, and what the router asks of it.

Everything that crosses the seam is arrays, JSON-like values, frozen dataclasses, documents and
settings; nothing holds an open file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Allowed, IndexSettings, Int64Array, Queries
from ...documents import Document, JsonObject
from ...errors import CollectionError, CormorantError, InputError, UnknownNameError
from ...ranking import NO_ROW, Ranking
from ...results import CheckReport, Span
from ...statistics import Statistics
from ...vectors import Given
from ..arguments import When
from ..collection import Collection
from ..exporting import vectors_from
from ..stored import read_documents, scroll_documents
from .leases import Facts, Lease, Leases, Pin
from .moving import Moved, Page, documents_to_move
from .routing import listed

READS = frozenset({
    "anchor_scores", "decode", "encodings", "explain", "query_terms", "reach", "row_terms", "score",
    "statistics", "term_statistics", "vectors",
})  # fmt: skip
"""What a router may ask of an index."""


NAMED_ROWS = 256
"""Of so many rows of an answer the ids are likely to be wanted."""


class Found(NamedTuple):
    """An index's answer, and documents and ids of its ``rows`` where these are few."""

    ranking: Ranking
    rows: Int64Array
    documents: Int64Array
    ids: list[str]


class Status(NamedTuple):
    """What a replica knows of itself. ``write``: the last write of the cluster that it has."""

    write: int
    n_documents: int
    indexes: Mapping[str, str]
    encoders: Mapping[str, JsonObject | None]


class Shard:
    """One replica of one shard of one collection.

    Reads under a token see one version; see :mod:`cormorant.retrieval.cluster.leases`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.collection = Collection.open(path)
        self._reader = self.collection._reader
        self._leases = Leases(self._pinned, clock)
        self._clock = clock

    def status(self) -> Status:
        """The last write, and what is there."""
        snapshot = self._reader.snapshot()
        views = snapshot.searchable
        return Status(
            snapshot.state.write,
            snapshot.state.n_documents,
            {name: view.settings_json for name, view in views.items()},
            {name: view.encoder for name, view in views.items()},
        )

    # -- reading one version ----------------------------------------------------------------

    def pin(self, token: str, pin: Pin, terms: Mapping[str, Sequence[Any]]) -> Facts:
        """Hold the latest version; ``terms``: by index, terms whose statistics are wanted."""
        lease = self._leases.get(token, pin)
        views = lease.version.pinned.snapshot.searchable
        statistics: dict[str, Statistics] = {
            name: self._of_index(lease, name, "statistics", wanted, lease.allowed)
            for name, wanted in terms.items()
        }
        return Facts(
            lease.write,
            lease.version.commit,
            lease.version.n_documents,
            {name: view.encoder for name, view in views.items()},
            {name: view.rows_behind for name, view in views.items()},
            statistics,
            {name: listed(view, lease.allowed) for name, view in views.items()},
        )

    def index(self, token: str, pin: Pin, name: str, method: str, *args: Any) -> Any:
        """What an index answers; where a mask is wanted, the lease's takes its place."""
        if method not in READS:
            raise InputError(f"{method!r} is nothing that a router asks of an index")
        return self._of_index(self._leases.get(token, pin), name, method, *args)

    def search(self, token: str, pin: Pin, name: str, queries: Queries, k: int) -> Found:
        """An index's answer; of a short one the ids too, which saves a round."""
        lease = self._leases.get(token, pin)
        ranking: Ranking = self._of_index(lease, name, "search", queries, k, lease.allowed)
        rows = np.unique(ranking.rows[ranking.rows != NO_ROW])
        rows = rows if len(rows) <= NAMED_ROWS else rows[:0]
        return Found(ranking, rows, *lease.version.look_up(rows))

    def look_up(self, token: str, pin: Pin, rows: Int64Array) -> tuple[Int64Array, list[str]]:
        """The documents and ids of rows."""
        return self._leases.get(token, pin).version.look_up(rows)

    def rows(self, token: str, pin: Pin) -> Int64Array:
        """Every row that may be a hit."""
        lease = self._leases.get(token, pin)
        return lease.version.rows(lease.allowed)

    def read(
        self, token: str, pin: Pin, documents: Sequence[int]
    ) -> dict[int, tuple[Document, list[Span]]]:
        """Documents and their passages by their first rows."""
        lease = self._leases.get(token, pin)
        with lease.reading():
            return lease.version.read(documents)

    def scroll(
        self, token: str, pin: Pin, after_row: int, limit: int
    ) -> tuple[list[tuple[int, Document]], int | None]:
        """At most ``limit`` documents after a row, and the row to go on after; None at the end."""
        lease = self._leases.get(token, pin)
        found: list[tuple[int, Document]] = []
        with lease.reading() as pinned:
            for row, document in scroll_documents(
                pinned.connection, self._reader.catalog, after_row
            ):
                if all(mask is None or mask[row] for mask in lease.allowed):
                    found.append((row, document))
                    if len(found) == limit:
                        return found, row
        return found, None

    def vectors_of(
        self, token: str, pin: Pin, name: str, named: bool, after_row: int, limit: int
    ) -> tuple[list[tuple[str, Any]], int | None]:
        """(id, vector) of at most ``limit`` documents after a row; see :meth:`scroll`."""
        found, last = self.scroll(token, pin, after_row, limit)
        snapshot = self._leases.get(token, pin).version.pinned.snapshot
        return vectors_from(snapshot, name, named, found), last

    def release(self, token: str) -> None:
        """Let go of a version."""
        self._leases.release(token)

    def _of_index(self, lease: Lease, name: str, method: str, *args: Any) -> Any:
        view = lease.version.indexes.get(name)
        if view is None:
            raise UnknownNameError(f"the index {name!r} was dropped", field="name")
        own = [lease.allowed if isinstance(arg, Allowed) else arg for arg in args]
        return getattr(view.index, method)(view.segments, *own)

    def _pinned(self, pin: Pin) -> Lease:
        with ExitStack() as stack:
            version = stack.enter_context(self.collection._version())
            allowed = version.begin(pin.filter, pin.as_labels, {})
            write = version.pinned.snapshot.state.write
            return Lease(version, allowed, write, stack.pop_all(), self._clock())

    # -- the latest version -----------------------------------------------------------------

    def get(self, id: str, as_labels: Sequence[str] | None = None) -> Document | None:
        """The document of an id."""
        return self.collection.get(id, as_labels=as_labels)

    def read_latest(self, documents: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        """Documents and their passages by their first rows, for those that are there."""
        with self._reader.pinned(tail=False) as pinned:
            return read_documents(pinned.connection, self._reader.catalog, documents)

    def describe(self) -> JsonObject:
        """What is in it."""
        return {**self.collection.describe(), "write": self.status().write}

    def check(self) -> CheckReport:
        """Read every byte and report what is wrong."""
        return self.collection.check()

    def backup(self, target: Path) -> int:
        """Copy the latest version to ``target``; the number of its last write."""
        write = self.status().write
        self.collection.backup(target)
        return write

    # -- writing ----------------------------------------------------------------------------

    def add(
        self, write: int, documents: Sequence[Document], vectors: Mapping[str, Given], when: When
    ) -> int:
        """Add documents as one write; how many."""
        self._check_number(write)
        return self.collection._writing.add(
            documents, self.collection._chunking, vectors, when, None, write
        )

    def add_moved(self, write: int, moved: Moved) -> int:
        """Add documents of another shard with their encodings; how many."""
        self._check_number(write)
        self.collection._writing.add_encoded(
            moved.documents, self.collection._chunking, moved.encodings, write
        )
        return len(moved.documents)

    def delete(self, write: int, ids: Sequence[str]) -> int:
        """Delete documents; how many there were."""
        self._check_number(write)
        return self.collection._writing.delete(ids, write)

    def to_move(self, here: int, n_shards: int, after_row: int, limit: int) -> Page:
        """Documents of the latest version whose place is another shard; see ``moving``."""
        return documents_to_move(self.collection, here, n_shards, after_row, limit)

    def add_index(self, name: str, settings: IndexSettings, when: When) -> None:
        """Add an index; one that is there with the same settings is fine."""
        if self.collection.indexes.get(name) != settings:
            self.collection.add_index(name, settings, index=when)

    def drop_index(self, name: str) -> None:
        """Drop an index; one that is not there is fine."""
        if name in self.collection.indexes:
            self.collection.drop_index(name)

    def flush(self) -> None:
        """Write the tail into segments."""
        self.collection.flush()

    def merge(self) -> None:
        """Make one segment of each index."""
        self.collection.merge()

    def indexed(self, first: bool) -> bool:
        """Whether no index is behind; ``first``: what stopped the background before is forgotten.

        Raises what stopped the background since.
        """
        if first:
            return self.collection.wait_indexed(0)
        failure = self.collection._writing.failure
        if isinstance(failure, CormorantError):
            raise failure
        if failure is not None:
            raise CormorantError(f"indexing in the background failed: {failure}") from failure
        return not any(view.rows_behind for view in self._reader.snapshot().indexes.values())

    def close(self) -> None:
        """Let go of every version and close the collection."""
        self._leases.release_all()
        self.collection.close()

    def _check_number(self, write: int) -> None:
        self._leases.expire()  # a shard that is only written to holds no old version either
        there = self.status().write
        if write <= there:
            raise CollectionError(
                f"{self.collection.path} has write {there} already, and write {write} was to "
                "follow: another cluster wrote to it"
            )
