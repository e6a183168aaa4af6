"""A plain scan of the postings of a query, term after term: the baseline of exact search."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...vectors import SparseVectors


class Lists(NamedTuple):
    """The documents of each term and their weights, one list after the other."""

    starts: Int64Array
    documents: NDArray[np.uint32]
    weights: Float32Array
    n_documents: int


def lists_of(base: SparseVectors, n_terms: int) -> Lists:
    """Documents inverted."""
    starts = np.zeros(n_terms + 1, np.int64)
    np.cumsum(np.bincount(base.terms, minlength=n_terms), out=starts[1:])
    documents = np.empty(len(base.terms), np.uint32)
    weights = np.empty(len(base.terms), np.float32)
    _fill(base.starts, base.terms, base.weights, starts[:-1].copy(), documents, weights)
    return Lists(starts, documents, weights, len(base))


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _fill(
    starts: Int64Array,
    terms: Int64Array,
    values: Float32Array,
    next_place: Int64Array,
    documents: NDArray[np.uint32],
    weights: Float32Array,
) -> None:
    for document in range(len(starts) - 1):
        for place in range(starts[document], starts[document + 1]):
            at = next_place[terms[place]]
            next_place[terms[place]] = at + 1
            documents[at], weights[at] = document, values[place]


def scan(
    lists: Lists, queries: SparseVectors, k: int, exact: bool = False
) -> tuple[Int64Array, NDArray[np.float64]]:
    """The k best documents of each query and their scores, with float32 sums or exact float64."""
    sums = np.zeros(lists.n_documents, np.float64 if exact else np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.zeros((len(queries), k), np.float64)
    weights = queries.weights.astype(sums.dtype)  # the products are of this type too
    _scan(*lists[:3], queries.starts, queries.terms, weights, sums, rows, scores)
    return rows, scores


@njit(nogil=True, cache=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _scan(
    starts: Int64Array,
    documents: NDArray[np.uint32],
    weights: Float32Array,
    query_starts: Int64Array,
    query_terms: Int64Array,
    query_weights: Float32Array,
    sums: Float32Array,
    rows: Int64Array,
    scores: NDArray[np.float64],
) -> None:
    k = rows.shape[1]
    for query in range(len(query_starts) - 1):
        sums[:] = 0
        for place in range(query_starts[query], query_starts[query + 1]):
            term, weight = query_terms[place], query_weights[place]
            for at in range(starts[term], starts[term + 1]):
                sums[documents[at]] += weight * weights[at]
        size = 0
        for document in range(len(sums)):
            value = sums[document]
            if size == k and value <= scores[query, k - 1]:
                continue
            if value <= 0:
                continue
            place = size if size < k else k - 1
            while place > 0 and scores[query, place - 1] < value:
                rows[query, place] = rows[query, place - 1]
                scores[query, place] = scores[query, place - 1]
                place -= 1
            rows[query, place], scores[query, place] = document, value
            size = min(k, size + 1)
