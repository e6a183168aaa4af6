"""The true score of a document from its own terms, in numba.

numba counts references to the arrays of a tuple whenever it passes one or takes one out, which
costs more than scoring does. So what runs once per document is inlined and gets arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .layout import (
    REPEATED,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    Postings,
    Queries,
    Saturation,
    UInt32Array,
)

SLOTS = 1024


class Query(NamedTuple):
    """The terms of one query that an index has, and a hash table to find them in."""

    terms: Int64Array
    weights: Float64Array
    slots: Int32Array
    chain: Int32Array


@njit(nogil=True, cache=True)
def room_for(offsets: Int64Array) -> Query:
    """Room for the longest of some queries."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return Query(
        np.empty(longest, np.int64),
        np.empty(longest, np.float64),
        np.full(SLOTS, -1, np.int32),
        np.empty(longest, np.int32),
    )


@njit(forceinline=True)
def put_query(
    terms: Int64Array,
    weights: Float64Array,
    slots: Int32Array,
    chain: Int32Array,
    all_terms: Int64Array,
    all_weights: Float64Array,
    begin: int,
    end: int,
) -> int:
    """Put the terms that the index has, of those at begin:end, into the table; returns how many."""
    n = 0
    for place in range(begin, end):
        term = all_terms[place]
        if term >= 0:
            terms[n], weights[n] = term, all_weights[place]
            chain[n] = slots[term & (SLOTS - 1)]
            slots[term & (SLOTS - 1)] = n
            n += 1
    return n


@njit(forceinline=True)
def take_query(terms: Int64Array, slots: Int32Array, n: int) -> None:
    """Empty the table."""
    for i in range(n):
        slots[terms[i] & (SLOTS - 1)] = -1


@njit(forceinline=True)
def gain(tf: float, norm: float, linear: bool, share: float) -> float:
    """What a weight is multiplied by where its term occurs tf times."""
    saturated = tf / (tf + norm)
    return tf * (share + (1.0 - share) * saturated) if linear else saturated


@njit(forceinline=True)
def first_from(ascending: UInt32Array, begin: int, end: int, value: int) -> int:
    """Where in ascending[begin:end] the first element that is at least ``value`` stands."""
    while begin < end:
        middle = (begin + end) >> 1
        if ascending[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@njit(forceinline=True)
def score_document(
    document: int,
    norm: float,
    linear: bool,
    share: float,
    document_offsets: Int64Array,
    document_terms: UInt32Array,
    repeat_offsets: Int64Array,
    repeat_documents: UInt32Array,
    repeat_counts: Int32Array,
    terms: Int64Array,
    weights: Float64Array,
    slots: Int32Array,
    chain: Int32Array,
) -> tuple[float, bool]:
    """The score of a document without the query's constant, and whether they share a term."""
    once = gain(1.0, norm, linear, share)
    score, shares = 0.0, False
    for place in range(document_offsets[document], document_offsets[document + 1]):
        entry = document_terms[place]
        found = slots[entry & (SLOTS - 1)]
        if found < 0:
            continue
        term = entry & ~REPEATED
        while found >= 0 and terms[found] != term:
            found = chain[found]
        if found < 0:
            continue
        shares = True
        if entry == term:
            score += weights[found] * once
        else:
            here = first_from(
                repeat_documents, repeat_offsets[term], repeat_offsets[term + 1], document
            )
            score += weights[found] * gain(float(repeat_counts[here]), norm, linear, share)
    return score, shares


@njit(nogil=True, cache=True)
def score(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    documents: Int64Array,
    scores: Float32Array,
) -> None:
    """Score given documents; see the package."""
    lengths = postings.lengths
    document_offsets, document_terms = postings.document_offsets, postings.document_terms
    repeat_offsets = postings.repeat_offsets
    repeat_documents, repeat_counts = postings.repeat_documents, postings.repeat_counts
    offsets, all_terms, all_weights = queries.offsets, queries.terms, queries.weights
    constants = queries.constants
    room = room_for(offsets)
    terms, weights, slots, chain = room.terms, room.weights, room.slots, room.chain
    for query in range(len(offsets) - 1):
        n = put_query(
            terms, weights, slots, chain, all_terms, all_weights, offsets[query], offsets[query + 1]
        )
        for place in range(documents.shape[1]):
            document = documents[query, place]
            if document < 0:
                continue
            norm = saturation.norm_base + saturation.norm_slope * lengths[document]
            total, shares = score_document(
                document, norm, saturation.linear, saturation.share,
                document_offsets, document_terms, repeat_offsets, repeat_documents, repeat_counts,
                terms, weights, slots, chain,
            )  # fmt: skip
            scores[query, place] = total + constants[query] if shares else 0.0
        take_query(terms, slots, n)
