"""Statistics of rows that lie in several collections, so that all of them score as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from .contracts import Allowed, Queries, Segment

S_in = TypeVar("S_in", bound=Segment, contravariant=True)


class Statistics(NamedTuple):
    """Sums over visible rows: how many, the sum of their lengths, and how many have each term."""

    n_rows: int
    total_length: int
    frequencies: Mapping[Any, int]

    @staticmethod
    def sum(parts: Iterable[Statistics]) -> Statistics:
        """Those of disjoint rows, together."""
        n_rows, total_length, frequencies = 0, 0, Counter[Any]()
        for part in parts:
            n_rows += part.n_rows
            total_length += part.total_length
            frequencies.update(part.frequencies)
        return Statistics(n_rows, total_length, frequencies)

    def without_common(
        self, rows: Sequence[Mapping[Any, float]], max_share: float
    ) -> list[dict[Any, float]]:
        """The terms of rows, less those that more than a share of all rows have."""
        limit = max_share * self.n_rows
        return [
            {term: weight for term, weight in own.items() if self.frequencies[term] <= limit}
            for own in rows
        ]


@runtime_checkable
class SharesStatistics(Protocol[S_in]):
    """An index whose scores depend on the other rows, and which can be told of rows elsewhere."""

    def asked_terms(self, queries: Queries) -> Sequence[Any]:
        """The distinct terms of queries whose scores need :meth:`statistics`; none otherwise."""

    def statistics(
        self, segments: Sequence[S_in], terms: Sequence[Any], allowed: Allowed
    ) -> Statistics:
        """Those that scores are made of; where a score needs it, of more terms than those given."""

    def with_statistics(self, queries: Queries, statistics: Statistics) -> Queries:
        """Queries that are scored by these statistics, and not by those of the rows searched."""


@runtime_checkable
class CountsTerms(Protocol[S_in]):
    """An index that gives away its rows' terms (``contracts.HasTerms``) and counts them."""

    def term_statistics(
        self, segments: Sequence[S_in], terms: Sequence[Any], allowed: Allowed
    ) -> Statistics:
        """How many visible rows there are, and how many of them hold each of some terms."""
