"""Queries of BM25 in terms: analysed texts, or weighted terms that a feedback made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array, Queries
from ...errors import InputError
from ...kernels.bm25 import terms as kernel
from ...statistics import Statistics
from ...vectors import SparseVectors, are_vectors
from ..analysis import Analyzer


@dataclass(frozen=True, slots=True, eq=False)
class TermQueries(SparseVectors):
    """Weighted terms of queries: term number t is ``names[t]``, as the analyser made it.

    A weight stands where a text has how often it names the term.
    """

    names: tuple[str, ...] = ()

    def __getitem__(self, rows: slice) -> TermQueries:
        # super() without arguments is lost in a dataclass with slots.
        cut = SparseVectors(self.starts, self.terms, self.weights)[rows]
        return TermQueries(cut.starts, cut.terms, cut.weights, self.names)


@dataclass(frozen=True, slots=True)
class Shared:
    """Queries that are scored by the statistics of more rows than those that are searched.

    ``mean_idf`` is that of Okapi, over all terms of all these rows.
    """

    queries: Queries
    statistics: Statistics
    mean_idf: float

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, rows: slice) -> Shared:
        return Shared(self.queries[rows], self.statistics, self.mean_idf)


class Asked(NamedTuple):
    """The distinct terms of some queries.

    ``packed``, ``packed_offsets``: UTF-8 of the ``names``. ``places``: the distinct terms of each
    query, one query after the other, as numbers in ``names``; ``counts``: how often each is asked
    for, int64, or float64 weights; ``offsets``: where each query begins.
    """

    names: Sequence[str]
    packed: NDArray[np.uint8]
    packed_offsets: Int64Array
    places: Int64Array
    counts: NDArray[np.int64] | NDArray[np.float64]
    offsets: Int64Array


def asked_of(queries: Queries | Shared, analyzer: Analyzer) -> Asked:
    """Queries as terms.

    Raises :class:`~cormorant.errors.InputError` for vectors of any other kind.
    """
    if isinstance(queries, Shared):
        return asked_of(queries.queries, analyzer)
    if isinstance(queries, TermQueries):
        packed, packed_offsets = pack(queries.names)
        weights = queries.weights.astype(np.float64)
        return Asked(queries.names, packed, packed_offsets, queries.terms, weights, queries.starts)
    if are_vectors(queries):
        raise InputError("a BM25 index is searched with texts, not with vectors")
    lexicon = analyzer.lexicon()
    terms, offsets = lexicon.encode(cast(Sequence[str], queries))
    places, counts, offsets = kernel.distinct(terms, offsets, len(lexicon))
    return Asked(lexicon.terms, *lexicon.packed_terms(), places, counts, offsets)


def weights_of(asked: Asked) -> list[dict[str, float]]:
    """Each query as a mapping from its terms to their weights."""
    names = [asked.names[place] for place in asked.places.tolist()]
    pairs = list(zip(names, map(float, asked.counts.tolist()), strict=True))
    ends = asked.offsets.tolist()
    return [dict(pairs[start:end]) for start, end in zip(ends[:-1], ends[1:], strict=True)]


def queries_of(terms: Sequence[Mapping[str, float]]) -> TermQueries:
    """Queries of weighted terms; weights of 0 are dropped.

    Raises :class:`~cormorant.errors.InputError` for a weight that is negative or not finite.
    """
    numbers: dict[str, int] = {}
    places, weights, starts = [], [], [0]
    for query in terms:
        for name, weight in query.items():
            if not 0 <= weight < np.inf:
                raise InputError(f"a term's weight is a number from 0, got {weight!r} for {name!r}")
            if weight:
                places.append(numbers.setdefault(name, len(numbers)))
                weights.append(weight)
        starts.append(len(places))
    return TermQueries(
        np.array(starts, np.int64),
        np.array(places, np.int64),
        np.array(weights, np.float32),
        tuple(numbers),
    )


def pack(names: Sequence[str]) -> tuple[NDArray[np.uint8], Int64Array]:
    """UTF-8 of names, one after the other, and where each begins and ends."""
    encoded = [name.encode() for name in names]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets
