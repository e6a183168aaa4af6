"""An index whose segments are in the shards, which are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import Allowed, Array, Float32Array, Int64Array, Queries
from ...documents import JsonObject
from ...ranking import NO_ROW, Ranking
from .placement import global_rows, rows_within
from .shard import Found

if TYPE_CHECKING:
    from .remote import NamedIndex, ShardedVersion

HERE = (
    "accept", "accept_queries", "asked_terms", "encode", "encode_queries", "highlights",
    "lowest_score", "name_tokens", "needs_vectors", "score_passages", "term_queries",
)  # fmt: skip
"""What an index says of texts and vectors, without a row."""


class RemoteIndex:
    """An index whose segments are in the shards. It has the methods that ``named.index`` has."""

    def __init__(self, named: NamedIndex, version: ShardedVersion) -> None:
        self._name = named.name
        self._index: Any = named.index
        self._version = version
        self._fan_outs: list[tuple[Any, Int64Array]] = []
        """Queries of each search, and of how many shards each was asked."""
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
        asked: Any = self._with_statistics(queries)
        everyone = dict.fromkeys(self._version.shards, np.arange(len(asked)))
        places = self._version.likely(self._name, asked, k) or everyone
        ranking = self._ranked_by(places, asked, k)
        short = np.flatnonzero(ranking.rows[:, -1] == NO_ROW)
        if len(short) and places is not everyone:  # likely shards have too little: others have it
            rest = {shard: np.setdiff1d(short, own) for shard, own in places.items()}
            more = self._ranked_by(rest, asked, k)
            ranking = Ranking.merge([ranking, more], k)
            places = {shard: np.union1d(own, rest[shard]) for shard, own in places.items()}
        if hasattr(self._index, "reach"):
            counts = np.bincount(np.concatenate(list(places.values())), minlength=len(asked))
            self._fan_outs.append((asked, counts))
        return ranking

    def _ranked_by(self, places: Mapping[int, Int64Array], queries: Any, k: int) -> Ranking:
        """The ranking of all queries, each by the shards that it has a place with."""
        n = len(queries)
        answers: dict[int, Found] = self._version.gathering.some(
            "search",
            {
                shard: (self._name, queries if len(own) == n else queries[own], k)
                for shard, own in places.items()
                if len(own)
            },
        )
        rankings = []
        for shard, found in answers.items():
            self._version.learn_ids(shard, found)
            part = found.ranking
            rows, scores = global_rows(part.rows, shard), part.scores
            whole = Ranking(rows, scores, part.flags)
            if len(rows) < n:
                whole = Ranking.empty(n, part.depth, part.flags)
                whole.rows[places[shard]] = rows
                whole.scores[places[shard]] = scores
            rankings.append(whole)
        return Ranking.merge(rankings, k) if rankings else Ranking.empty(n, k)

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
        asked: Any = self._with_statistics(query)
        found = self._listed(
            np.array(rows, np.int64),
            lambda own: (self._name, "explain", asked, own.tolist(), allowed),
        )
        if hasattr(self._index, "reach"):
            for queries, counts in reversed(self._fan_outs):
                for number in np.flatnonzero((queries == asked).all(axis=1)).tolist():
                    shards = {"asked": int(counts[number]), "of": len(self._version.shards)}
                    return [{**reasons, "shards": shards} for reasons in found]
        return found

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
