"""A version of a sharded collection, whose indexes are asked in their shards.

``Search`` runs over it as over any other: its rows carry their shard (``placement``), and an index
here has the methods that the same index has in a collection, no more. What texts and vectors mean
is settled here, by the settings; what rows hold is asked for there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contracts import (
    EVERYTHING,
    Allowed,
    Array,
    Float32Array,
    Index,
    IndexSettings,
    Int64Array,
    Queries,
)
from ...documents import Document, JsonObject
from ...ranking import NO_ROW, Ranking
from ...results import Span
from ...statistics import Statistics
from ..encodings import agreed
from .gathering import Gathering
from .leases import Facts
from .placement import ROW_BITS, global_rows, rows_within
from .shard import Found

HERE = (
    "accept", "accept_queries", "asked_terms", "encode", "encode_queries", "highlights",
    "lowest_score", "needs_vectors", "score_passages", "term_queries",
)  # fmt: skip
"""What an index says of texts and vectors, without a row."""


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
    ) -> None:
        self._open_gathering = open_gathering
        self._named = indexes
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


class RemoteIndex:
    """An index whose segments are in the shards. It has the methods that ``named.index`` has."""

    def __init__(self, named: NamedIndex, version: ShardedVersion) -> None:
        self._name = named.name
        self._index: Any = named.index
        self._version = version
        for method in HERE:
            if hasattr(named.index, method):
                setattr(self, method, getattr(named.index, method))
        for method, asked in {
            "search": self._search,
            "score": self._score,
            "explain": self._explain,
            "vectors": self._arrays("vectors"),
            "anchor_scores": self._arrays("anchor_scores"),
            "decode": self._lists("decode"),
            "encodings": self._lists("encodings"),
            "query_terms": self._query_terms,
            "row_terms": self._row_terms,
        }.items():
            if hasattr(named.index, method):
                setattr(self, method, asked)

    def _search(self, segments: object, queries: Queries, k: int, allowed: Allowed) -> Ranking:
        answers: dict[int, Found] = self._version.gathering.each(
            "search", self._name, self._with_statistics(queries), k
        )
        rankings = []
        for shard, found in answers.items():
            self._version.learn_ids(shard, found)
            part = found.ranking
            rankings.append(Ranking(global_rows(part.rows, shard), part.scores, part.flags))
        return Ranking.merge(rankings, k)

    def _score(
        self, segments: object, queries: Queries, rows: Int64Array, allowed: Allowed
    ) -> Float32Array:
        asked = self._with_statistics(queries)
        args = {
            shard: (self._name, "score", asked, own, allowed)
            for shard in self._version.shards
            if np.any((own := rows_within(rows, shard)) != NO_ROW)
        }
        scores = np.full(rows.shape, -np.inf, np.float32)
        for part in self._version.gathering.some("index", args).values():
            np.maximum(scores, part, out=scores)
        return scores

    def _explain(
        self, segments: object, query: Queries, rows: Sequence[int], allowed: Allowed
    ) -> list[JsonObject]:
        asked = self._with_statistics(query)
        return self._listed(
            np.array(rows, np.int64),
            lambda own: (self._name, "explain", asked, own.tolist(), allowed),
        )

    def _query_terms(self, segments: object, queries: Queries, allowed: Allowed) -> Any:
        return self._index.query_terms([], self._with_statistics(queries), allowed)

    def _row_terms(
        self, segments: object, rows: Int64Array, allowed: Allowed, max_share: float
    ) -> list[Any]:
        found = self._listed(rows, lambda own: (self._name, "row_terms", own, allowed, 1.0))
        terms = list(dict.fromkeys(term for own in found for term in own))
        if max_share >= 1 or not terms:
            return found
        counted = self._version.statistics(self._name, "term_statistics", terms)
        return counted.without_common(found, max_share)

    def _with_statistics(self, queries: Queries) -> Queries:
        """Queries that are scored as one collection of all shards would score them."""
        if not hasattr(self._index, "asked_terms"):
            return queries
        terms = self._index.asked_terms(queries)
        if not terms:
            return queries
        known = self._version.statistics_of_queries(self._name, terms)
        weighed: Queries = self._index.with_statistics(queries, known)
        return weighed

    def _arrays(self, method: str) -> Callable[[object, Int64Array], Array]:
        def read(segments: object, rows: Int64Array) -> Array:
            """Stored numbers of rows: (n,) int64 -> (n, m) float32, NaN of an absent row."""
            found: Array | None = None
            for _, places, part in self._version.by_rows(
                rows, "index", lambda own: (self._name, method, own)
            ):
                if found is None:
                    found = np.full((len(rows), part.shape[1]), np.nan, part.dtype)
                found[places] = part
            if found is None:  # no row to ask a shard for: the first one knows how wide they are
                shard = self._version.shards[0]
                args = {shard: (self._name, method, np.full(len(rows), NO_ROW, np.int64))}
                found = self._version.gathering.some("index", args)[shard]
            return found

        return read

    def _lists(self, method: str) -> Callable[..., list[Any]]:
        def read(segments: object, rows: Int64Array, *more: Any) -> list[Any]:
            return self._listed(rows, lambda own: (self._name, method, own, *more))

        return read

    def _listed(
        self, rows: Int64Array, args_of: Callable[[Int64Array], tuple[Any, ...]]
    ) -> list[Any]:
        """One thing for each row, of the shard that has it; an empty mapping for no row."""
        found: list[Any] = [{} for _ in rows]
        for _, places, part in self._version.by_rows(rows, "index", args_of):
            for place, own in zip(places.tolist(), part, strict=True):
                found[place] = own
        return found
