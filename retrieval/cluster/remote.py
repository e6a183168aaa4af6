"""A version of a sharded collection, whose indexes are asked in their shards.

``Search`` runs over it as over any other: its rows carry their shard (``placement``), and an index
here has the methods that the same index has in a collection, no more. What texts and vectors mean
is settled here, by the settings; what rows hold is asked for there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contracts import EVERYTHING, Allowed, Index, IndexSettings, Int64Array, Queries
from ...documents import Document, JsonObject
from ...ranking import NO_ROW
from ...results import Span
from ...statistics import Statistics
from ..encodings import agreed
from .gathering import Gathering
from .leases import Facts
from .placement import ROW_BITS, global_rows, rows_within
from .remote_index import RemoteIndex
from .routing import Routing
from .shard import Found


@dataclass(frozen=True, slots=True)
class NamedIndex:
    """An index of a sharded collection: ``index`` has its settings and no rows."""

    name: str
    settings: IndexSettings
    index: Index[Any]
    since: int


@dataclass(frozen=True, slots=True)
class RemoteView:
    """See :class:`~cormorant.retrieval.version.ServedIndex`; segments are in the shards."""

    settings: IndexSettings
    index: Any
    encoder: JsonObject | None
    rows_behind: int
    segments: tuple[()] = ()


class ShardedVersion:
    """One version in every shard, from :meth:`begin` on.

    ``open_gathering`` pins it, and is given the terms by index whose statistics come along.
    """

    gathering: Gathering

    def __init__(
        self,
        open_gathering: Callable[[Mapping[str, Sequence[Any]]], tuple[Gathering, dict[int, Facts]]],
        indexes: Mapping[str, NamedIndex],
        routing: Routing,
    ) -> None:
        self._open_gathering = open_gathering
        self._named = indexes
        self._routing = routing
        self._sees_all = True
        self._facts: dict[int, Facts] = {}
        self._known: dict[str, Statistics] = {}
        self._ids: dict[int, tuple[int, str]] = {}
        self.indexes: dict[str, RemoteView] = {
            name: RemoteView(
                named.settings,
                RemoteIndex(named, self),
                {} if hasattr(named.index, "needs_vectors") else None,
                0,
            )
            for name, named in indexes.items()
        }

    @property
    def commit(self) -> int:
        """How many writes the shards have seen, together; it grows with every write."""
        return sum(facts.write for facts in self._facts.values())

    @property
    def n_documents(self) -> int:
        """How many documents live."""
        return sum(facts.n_documents for facts in self._facts.values())

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that are asked; all of them answered, or the search failed."""
        return self.gathering.shards

    def kinds(self, *, with_vectors: bool = True) -> dict[str, str]:
        """The names of the indexes with their kinds, the oldest first."""
        return {
            named.name: named.settings.kind
            for named in sorted(self._named.values(), key=lambda named: (named.since, named.name))
            if with_vectors or not getattr(named.index, "needs_vectors", False)
        }

    def begin(
        self,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        first: Mapping[str, Queries],
    ) -> Allowed:
        """Pin a version in every shard; whoever opens the gathering knows filter and labels.

        The statistics of the first texts come with it, which saves a round.
        """
        self._sees_all = filter is None and as_labels is None
        terms = {}
        for name, queries in first.items():
            index = self._named[name].index
            if hasattr(index, "asked_terms") and not hasattr(index, "encode_queries"):
                terms[name] = index.asked_terms(queries)
        self.gathering, self._facts = self._open_gathering(
            {name: own for name, own in terms.items() if own}
        )
        for name, own in terms.items():
            if own:
                parts = (facts.statistics[name] for facts in self._facts.values())
                self._learn(name, own, Statistics.sum(parts))
        for name, view in self.indexes.items():
            self.indexes[name] = RemoteView(
                view.settings,
                view.index,
                encoder_of(name, [facts.encoders.get(name) for facts in self._facts.values()]),
                sum(facts.rows_behind.get(name, 0) for facts in self._facts.values()),
            )
        return EVERYTHING  # what may be seen is settled in the shards

    def statistics(self, name: str, method: str, terms: Sequence[Any]) -> Statistics:
        """The sums over all shards; ``method`` is ``statistics`` or ``term_statistics``."""
        parts = self.gathering.each("index", name, method, terms, EVERYTHING)
        return Statistics.sum(parts.values())

    def statistics_of_queries(self, name: str, terms: Sequence[Any]) -> Statistics:
        """Those that scores are made of; a term is asked for once in a search."""
        known = self._known.get(name)
        missing = list(terms)
        if known is not None:
            missing = [term for term in terms if term not in known.frequencies]
        if known is None or missing:
            self._learn(name, missing, self.statistics(name, "statistics", missing))
        return self._known[name]

    def likely(self, name: str, queries: Any, k: int) -> dict[int, Int64Array] | None:
        """By shard the queries that an index is to be asked there; None: all, everywhere.

        What a filter lets through of a list is known in its shard alone: everyone is asked.
        """
        named = self._named[name]
        if not (self._sees_all and hasattr(named.index, "reach")):
            return None

        def fetch(shards: Iterable[int]) -> dict[int, Any]:
            args = dict.fromkeys(shards, (name, "reach", EVERYTHING))
            return self.gathering.some("index", args)

        versions = {
            shard: (facts.write, facts.lists.get(name)) for shard, facts in self._facts.items()
        }
        return self._routing.likely(name, named.index, queries, k, versions, fetch)

    def _learn(self, name: str, terms: Sequence[Any], found: Statistics) -> None:
        known = self._known.get(name)
        absent = dict.fromkeys(terms, 0)
        before = {} if known is None else known.frequencies
        frequencies = {**before, **absent, **found.frequencies}
        self._known[name] = found._replace(frequencies=frequencies)

    def learn_ids(self, shard: int, found: Found) -> None:
        """Keep the ids that came with an answer."""
        rows = global_rows(found.rows, shard).tolist()
        documents = global_rows(found.documents, shard).tolist()
        self._ids.update(zip(rows, zip(documents, found.ids, strict=True), strict=True))

    def look_up(self, rows: Int64Array) -> tuple[Int64Array, list[str]]:
        """The documents and ids of rows, in their order."""
        known = [self._ids.get(row) for row in rows.tolist()]
        if None not in known:
            there = [item for item in known if item is not None]
            return np.array([item[0] for item in there], np.int64), [item[1] for item in there]
        documents = np.full(len(rows), NO_ROW, np.int64)
        ids = [""] * len(rows)
        for shard, places, (own, names) in self.by_rows(rows, "look_up", lambda own: (own,)):
            documents[places] = global_rows(own, shard)
            for place, name in zip(places.tolist(), names, strict=True):
                ids[place] = name
        return documents, ids

    def rows(self, allowed: Allowed) -> Int64Array:
        """Every row that may be a hit, ascending."""
        parts = [global_rows(own, at) for at, own in self.gathering.each("rows").items()]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))

    def read(self, documents: Sequence[int]) -> dict[int, tuple[Document, list[Span]]]:
        """Documents and their passages by their first rows, for those that are there."""
        rows = np.array(documents, np.int64)
        return {
            row | (shard << ROW_BITS): found
            for shard, _, part in self.by_rows(rows, "read", lambda own: (own.tolist(),))
            for row, found in part.items()
        }

    def by_rows(
        self, rows: Int64Array, method: str, args_of: Callable[[Int64Array], tuple[Any, ...]]
    ) -> list[tuple[int, Int64Array, Any]]:
        """(shard, places in ``rows`` (n,), answer) of every shard that has some of the rows."""
        places = {
            shard: np.flatnonzero((rows != NO_ROW) & (rows >> ROW_BITS == shard))
            for shard in self.shards
        }
        args = {
            shard: args_of(rows_within(rows[own], shard))
            for shard, own in places.items()
            if len(own)
        }
        answers = self.gathering.some(method, args)
        return [(shard, places[shard], answer) for shard, answer in answers.items()]


def encoder_of(name: str, parts: Sequence[JsonObject | None]) -> JsonObject | None:
    """What is recorded of an index's encoder, in all shards together."""
    known: JsonObject | None = None
    for part in parts:
        if part is not None:
            known = agreed(name, known or {}, part)
    return known
