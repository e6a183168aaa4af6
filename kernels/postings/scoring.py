"""True scores of single documents from their own weights, in numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..bm25.lanes import pointer
from .layout import Float32Array, Float64Array, Impacts, Int64Array, Queries, UInt16Array


class Source(NamedTuple):
    """Pointers to what a score is made of; ``asked``: the query's weight of each term, mostly 0."""

    rows: Int64Array
    starts: Int64Array
    terms: UInt16Array
    weights: Float32Array
    asked: Float64Array


@njit(forceinline=True)
def source_of(impacts: Impacts, asked: Float64Array) -> Source:
    """Pointers to an index and a table (v,), which must outlive them."""
    return Source(
        pointer(impacts.rows, 0),
        pointer(impacts.starts, 0),
        pointer(impacts.terms, 0),
        pointer(impacts.weights, 0),
        pointer(asked, 0),
    )


@njit(forceinline=True)
def score_document(source: Source, document: int) -> float:
    """The sum over the terms of both, ascending; 0 where they share none, as all are above 0."""
    total = 0.0
    for place in range(source.starts[document], source.starts[document + 1]):
        weight = source.asked[np.int64(source.terms[place])]
        if weight != 0.0:
            total += weight * np.float64(source.weights[place])
    return total


@njit(nogil=True, cache=True)
def score(impacts: Impacts, queries: Queries, documents: Int64Array, scores: Float32Array) -> None:
    """Score given documents; see the package."""
    asked = np.zeros(max(1, len(impacts.frequencies)))
    score_with(impacts, queries, documents, scores, asked)


@njit(nogil=True, cache=True)
def score_with(
    impacts: Impacts,
    queries: Queries,
    documents: Int64Array,
    scores: Float32Array,
    asked: Float64Array,
) -> None:
    """The same, given a table of zeros, which comes back so."""
    source = source_of(impacts, asked)
    for query in range(len(queries.offsets) - 1):
        begin, end = queries.offsets[query], queries.offsets[query + 1]
        for place in range(begin, end):
            if queries.terms[place] >= 0:
                asked[queries.terms[place]] = queries.weights[place]
        for place in range(documents.shape[1]):
            if documents[query, place] >= 0:
                scores[query, place] = score_document(source, documents[query, place])
        for place in range(begin, end):
            if queries.terms[place] >= 0:
                asked[queries.terms[place]] = 0.0
