"""What a search asks of the version that it runs over; and such a version of one collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..contracts import Allowed, Index, IndexSettings, Int64Array, Queries
from ..documents import Document, JsonObject
from ..errors import CorruptionError
from ..ranking import NO_ROW
from ..results import Span
from .ids import look_up
from .masks import Masks
from .reader import Pinned
from .snapshot import IndexView
from .stored import read_documents


class ServedIndex(Protocol):
    """One index of a version."""

    @property
    def settings(self) -> IndexSettings | None:
        """The user's settings."""

    @property
    def index(self) -> Index[Any]:
        """The index itself; it is given ``segments`` with every call."""

    @property
    def segments(self) -> Sequence[Any]:
        """Everything a search of this index reads."""

    @property
    def encoder(self) -> JsonObject | None:
        """What is recorded of the index's encoder, None for an index that has none."""

    @property
    def rows_behind(self) -> int:
        """How many rows wait to be indexed in the background, and are not searched yet."""


class Version(Protocol):
    """One version of a collection, held still for a search; rows are its own numbers."""

    @property
    def commit(self) -> int:
        """The version's number."""

    @property
    def n_documents(self) -> int:
        """How many documents live, whoever may see them."""

    @property
    def shards(self) -> tuple[int, ...] | None:
        """The shards that answer; None for a collection that has none."""

    @property
    def indexes(self) -> Mapping[str, ServedIndex]:
        """The indexes that answer queries, by name."""

    def kinds(self, *, with_vectors: bool = True) -> Mapping[str, str]:
        """The names of the indexes with their kinds, the oldest first.

        ``with_vectors``: whether those count that take ready vectors only.
        """

    def begin(
        self,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        first: Mapping[str, Queries],
    ) -> Allowed:
        """Settle what this search may see; called once, before anything else is asked of an index.

        ``first``: by index the texts that it will be searched with first, for whoever can prepare.
        """

    def look_up(self, rows: Int64Array) -> tuple[Int64Array, list[str]]:
        """The documents (their first rows, (n,) int64) and ids of rows (n,), in their order.

        Raises :class:`~cormorant.errors.CorruptionError` for a row that has no id.
        """

    def rows(self, allowed: Allowed) -> Int64Array:
        """Every row that may be a hit, ascending: (n,) int64."""

    def read(self, documents: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        """Documents and their passages by their first rows, for those that are there."""


@dataclass(frozen=True, slots=True)
class LocalVersion:
    """A pinned version of a collection of this process."""

    pinned: Pinned
    catalog: Path
    masks: Masks

    @property
    def commit(self) -> int:
        """The version's number."""
        return self.pinned.snapshot.commit

    @property
    def n_documents(self) -> int:
        """How many documents live."""
        return self.pinned.snapshot.state.n_documents

    @property
    def shards(self) -> None:
        """It has none."""
        return None

    @property
    def indexes(self) -> Mapping[str, IndexView]:
        """The indexes that answer queries, by name."""
        return self.pinned.snapshot.indexes

    def kinds(self, *, with_vectors: bool = True) -> Mapping[str, str]:
        """The names of the indexes with their kinds, the oldest first."""
        snapshot = self.pinned.snapshot
        return snapshot.kinds if with_vectors else snapshot.kinds_for_texts

    def begin(
        self,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        first: Mapping[str, Queries],
    ) -> Allowed:
        """The masks of a filter and of labels."""
        return self.masks.allowed(self.pinned, filter, as_labels)

    def look_up(self, rows: Int64Array) -> tuple[Int64Array, list[str]]:
        """The documents and ids of rows."""
        documents, names = look_up(self.pinned.snapshot.ids.segments, rows)
        if np.any(documents == NO_ROW):
            row = rows[documents == NO_ROW][0]
            raise CorruptionError(self.catalog, f"row {row} is indexed but has no id")
        return documents, names

    def rows(self, allowed: Allowed) -> Int64Array:
        """The rows that live, may be seen, and pass the filter."""
        snapshot = self.pinned.snapshot
        segments = snapshot.ids.segments
        rows = np.concatenate([segment.rows for segment in segments] or [np.zeros(0, np.int64)])
        for mask in (snapshot.live, *allowed):
            if mask is not None:
                rows = rows[mask[rows]]
        rows.sort()
        return rows

    def read(self, documents: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        """Documents and their passages by their first rows."""
        return read_documents(self.pinned.connection, self.catalog, documents)
