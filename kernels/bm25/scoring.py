"""The true score of a document from its own terms, in numba.

numba counts references to the arrays of a tuple whenever it passes one or takes one out, and looks
whether a signed index counts from the end; both cost more than scoring does. So what runs once per
document is inlined, gets arrays, and indexes with unsigned numbers.
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

TERM = np.uint32(REPEATED - 1)
NO_TERM = np.uint32(0xFFFFFFFF)
ONE = np.uint64(1)


class Query(NamedTuple):
    """The terms of one query that an index has, and a hash table of their weights."""

    terms: Int64Array
    """(n,) and room for more."""
    weights: Float64Array
    slot_terms: UInt32Array
    """Open addressing, linear probing: a power of two, at most a quarter of them used."""
    slot_weights: Float64Array
    """0 where the slot is empty."""


@njit(nogil=True, cache=True)
def room_for(offsets: Int64Array) -> Query:
    """Room for the longest of some queries."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    slots = 1024
    while slots < 4 * longest:
        slots *= 2
    return Query(
        np.empty(longest, np.int64),
        np.empty(longest, np.float64),
        np.full(slots, NO_TERM, np.uint32),
        np.zeros(slots, np.float64),
    )


@njit(forceinline=True)
def put_query(
    terms: Int64Array,
    weights: Float64Array,
    slot_terms: UInt32Array,
    slot_weights: Float64Array,
    all_terms: Int64Array,
    all_weights: Float64Array,
    begin: int,
    end: int,
) -> int:
    """Take over the terms that the index has, of those at begin:end; returns how many."""
    n = 0
    for place in range(begin, end):
        term = all_terms[place]
        if term >= 0:
            terms[n], weights[n] = term, all_weights[place]
            slot = np.uint64(term) & np.uint64(len(slot_terms) - 1)
            while slot_terms[slot] != NO_TERM:
                slot = (slot + ONE) & np.uint64(len(slot_terms) - 1)
            slot_terms[slot], slot_weights[slot] = term, all_weights[place]
            n += 1
    return n


@njit(forceinline=True)
def take_query(
    terms: Int64Array, slot_terms: UInt32Array, slot_weights: Float64Array, n: int
) -> None:
    """Empty the table."""
    for i in range(n):
        slot = np.uint64(terms[i]) & np.uint64(len(slot_terms) - 1)
        while slot_terms[slot] != NO_TERM:
            slot_terms[slot], slot_weights[slot] = NO_TERM, 0.0
            slot = (slot + ONE) & np.uint64(len(slot_terms) - 1)


@njit(forceinline=True)
def gain(tf: float, norm: float, linear: bool, share: float) -> float:
    """What a weight is multiplied by where its term occurs tf times."""
    saturated = tf / (tf + norm)
    return tf * (share + (1.0 - share) * saturated) if linear else saturated


@njit(forceinline=True)
def first_from(ascending: UInt32Array, begin: int, end: int, value: int) -> int:
    """Where in ascending[begin:end] the first element that is at least ``value`` stands."""
    low, high = np.uint64(begin), np.uint64(end)
    while low < high:
        middle = (low + high) >> ONE
        if ascending[middle] < value:
            low = middle + ONE
        else:
            high = middle
    return np.int64(low)


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
    slot_terms: UInt32Array,
    slot_weights: Float64Array,
) -> tuple[float, bool]:
    """The score of a document without the query's constant, and whether they share a term.

    Terms that the query does not have add their slot's 0, which costs less than a branch.
    """
    once = gain(1.0, norm, linear, share)
    score, shares = 0.0, False
    number, in_slots = np.uint64(document), np.uint64(len(slot_terms) - 1)
    begin, end = np.uint64(document_offsets[number]), np.uint64(document_offsets[number + ONE])
    for place in range(begin, end):
        entry = document_terms[place]
        term = entry & TERM
        slot = term & in_slots
        held = slot_terms[slot]
        while min(held ^ term, held ^ NO_TERM) != 0:
            slot = (slot + ONE) & in_slots
            held = slot_terms[slot]
        shares |= held == term
        weight = slot_weights[slot]
        if entry == held | REPEATED:
            first, last = repeat_offsets[term], repeat_offsets[term + ONE]
            here = np.uint64(first_from(repeat_documents, first, last, document))
            score += weight * gain(float(repeat_counts[here]), norm, linear, share)
        else:
            score += weight * once
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
    terms, weights = room.terms, room.weights
    slot_terms, slot_weights = room.slot_terms, room.slot_weights
    for query in range(len(offsets) - 1):
        n = put_query(
            terms,
            weights,
            slot_terms,
            slot_weights,
            all_terms,
            all_weights,
            offsets[query],
            offsets[query + 1],
        )
        for place in range(documents.shape[1]):
            document = documents[query, place]
            if document < 0:
                continue
            norm = saturation.norm_base + saturation.norm_slope * lengths[document]
            total, shares = score_document(
                document, norm, saturation.linear, saturation.share,
                document_offsets, document_terms, repeat_offsets, repeat_documents, repeat_counts,
                slot_terms, slot_weights,
            )  # fmt: skip
            scores[query, place] = total + constants[query] if shares else 0.0
        take_query(terms, slot_terms, slot_weights, n)
