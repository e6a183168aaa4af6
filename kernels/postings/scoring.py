"""True scores of single documents from their own weights, in numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..bm25.lanes import lowest_one, pointer
from . import lanes
from .layout import (
    LANES,
    Float32Array,
    Float64Array,
    Impacts,
    Int32Array,
    Int64Array,
    Queries,
    UInt8Array,
    UInt16Array,
)

ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class View(NamedTuple):
    """An index as pointers, which need no counting of references, and a query's weights.

    ``asked``: the query's weight of each term, mostly 0. The rest is as in :class:`Impacts`.
    """

    n_documents: int
    n_weights: int
    asked: Float64Array
    rows: Int64Array
    starts: Int64Array
    terms: UInt16Array
    weights: Float32Array
    frequencies: Int32Array
    largest: Float32Array
    row_numbers: Int32Array
    row_impacts: UInt8Array
    row_counts: Int32Array
    run_starts: Int64Array
    run_blocks: UInt16Array
    run_begins: Int64Array
    listed: UInt16Array
    impacts: UInt8Array


@njit(forceinline=True)
def view_of(impacts: Impacts, asked: Float64Array) -> View:
    """Pointers to an index and a table (v,), which must outlive them."""
    return View(
        len(impacts.rows),
        len(impacts.weights),
        pointer(asked, 0),
        pointer(impacts.rows, 0),
        pointer(impacts.starts, 0),
        pointer(impacts.terms, 0),
        pointer(impacts.weights, 0),
        pointer(impacts.frequencies, 0),
        pointer(impacts.largest, 0),
        pointer(impacts.row_numbers, 0),
        pointer(impacts.row_impacts, 0),
        pointer(impacts.row_counts, 0),
        pointer(impacts.run_starts, 0),
        pointer(impacts.run_blocks, 0),
        pointer(impacts.run_begins, 0),
        pointer(impacts.listed, 0),
        pointer(impacts.impacts, 0),
    )


@njit(forceinline=True)
def score_document(view: View, document: int) -> float:
    """The sum over the terms of both, ascending; 0 where they share none, as all are above 0."""
    total = 0.0
    for place in range(view.starts[document], view.starts[document + 1]):
        weight = view.asked[np.int64(view.terms[place])]
        if weight != 0.0:
            total += weight * np.float64(view.weights[place])
    return total


@njit(nogil=True, cache=True)
def shared(
    view: View, document: int, terms: Int64Array, n: int, places: Int64Array, n_places: int
) -> int:
    """Write where a document has which of n ascending terms behind ``n_places`` places.

    64 of its terms are looked at together, for those of the query that can be among them. Returns
    how many places there are then.
    """
    first, end = view.starts[document], view.starts[document + 1]
    i = 0
    while first < end and i < n:
        last = min(first + LANES, end) - 1
        inside = ALL >> np.uint64(LANES - (last + 1 - first))
        while i < n and terms[i] < view.terms[first]:
            i += 1
        if first + LANES > view.n_weights:  # 64 are not there
            for place in range(first, end):
                if view.asked[np.int64(view.terms[place])] != 0.0:
                    places[n_places] = place
                    n_places += 1
            break
        while i < n and terms[i] <= view.terms[last]:
            bits = lanes.equal_to(view.terms, first, terms[i]) & inside
            if bits != 0:
                places[n_places] = first + lowest_one(bits)
                n_places += 1
            i += 1
        first += LANES
    return n_places


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
    view = view_of(impacts, asked)
    for query in range(len(queries.offsets) - 1):
        begin, end = queries.offsets[query], queries.offsets[query + 1]
        for place in range(begin, end):
            if queries.terms[place] >= 0:
                asked[queries.terms[place]] = queries.weights[place]
        for place in range(documents.shape[1]):
            if documents[query, place] >= 0:
                scores[query, place] = score_document(view, documents[query, place])
        for place in range(begin, end):
            if queries.terms[place] >= 0:
                asked[queries.terms[place]] = 0.0
