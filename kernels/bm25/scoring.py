"""The true score of a document from its own terms, in numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from .lanes import pointer
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


class Table(NamedTuple):
    """Room for the terms of one query, and a hash table of their weights: arrays or pointers."""

    terms: Int64Array
    weights: Float64Array
    slot_terms: UInt32Array
    """Open addressing, linear probing: a power of two, at most a quarter of them used."""
    slot_weights: Float64Array
    """0 where the slot is empty."""
    in_slots: int
    """One less than how many slots there are."""


class Source(NamedTuple):
    """What scoring a document reads: pointers to arrays of postings, and a table of pointers.

    Unlike arrays they may stand in a tuple that is passed on for every document; see ``lanes``.
    """

    rows: Int64Array
    positions: UInt32Array
    lengths: UInt32Array
    document_offsets: Int64Array
    document_terms: UInt32Array
    repeat_offsets: Int64Array
    repeat_documents: UInt32Array
    repeat_counts: Int32Array
    table: Table
    saturation: Saturation


@njit(nogil=True, cache=True)
def table_for(offsets: Int64Array) -> Table:
    """Room for the longest of some queries."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    slots = 1024
    while slots < 4 * longest:
        slots *= 2
    return Table(
        np.empty(longest, np.int64),
        np.empty(longest, np.float64),
        np.full(slots, NO_TERM, np.uint32),
        np.zeros(slots, np.float64),
        slots - 1,
    )


@njit(forceinline=True)
def source_of(postings: Postings, table: Table, saturation: Saturation) -> Source:
    """Pointers to arrays that the caller was given."""
    return Source(
        pointer(postings.rows, 0),
        pointer(postings.positions, 0),
        pointer(postings.lengths, 0),
        pointer(postings.document_offsets, 0),
        pointer(postings.document_terms, 0),
        pointer(postings.repeat_offsets, 0),
        pointer(postings.repeat_documents, 0),
        pointer(postings.repeat_counts, 0),
        Table(
            pointer(table.terms, 0),
            pointer(table.weights, 0),
            pointer(table.slot_terms, 0),
            pointer(table.slot_weights, 0),
            table.in_slots,
        ),
        saturation,
    )


@njit(forceinline=True)
def queries_of(queries: Queries) -> Queries:
    """The same, as pointers, of queries that the caller was given."""
    return Queries(
        pointer(queries.terms, 0),
        pointer(queries.weights, 0),
        pointer(queries.offsets, 0),
        pointer(queries.constants, 0),
    )


@njit(forceinline=True)
def enter(table: Table, queries: Queries, query: int) -> int:
    """Put those terms of a query that the index has into the table; returns how many."""
    n = 0
    for place in range(queries.offsets[query], queries.offsets[query + 1]):
        term, weight = queries.terms[place], queries.weights[place]
        if term >= 0:
            table.terms[n], table.weights[n] = term, weight
            slot = term & table.in_slots
            while table.slot_terms[slot] != NO_TERM:
                slot = (slot + 1) & table.in_slots
            table.slot_terms[slot], table.slot_weights[slot] = term, weight
            n += 1
    return n


@njit(forceinline=True)
def leave(table: Table, n: int) -> None:
    """Empty the slots of the table's n terms."""
    for i in range(n):
        slot = table.terms[i] & table.in_slots
        while table.slot_terms[slot] != NO_TERM:
            table.slot_terms[slot], table.slot_weights[slot] = NO_TERM, 0.0
            slot = (slot + 1) & table.in_slots


@njit(forceinline=True)
def norm_of(length: int, saturation: Saturation) -> float:
    """How much a document's length holds its terms back."""
    return saturation.norm_base + saturation.norm_slope * length


@njit(forceinline=True)
def gain(tf: float, norm: float, saturation: Saturation) -> float:
    """What a weight is multiplied by where its term occurs tf times."""
    saturated = tf / (tf + norm)
    if saturation.linear:
        return tf * (saturation.share + (1.0 - saturation.share) * saturated)
    return saturated


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
def score_document(source: Source, document: int) -> tuple[float, bool]:
    """The score of a document without the query's constant, and whether they share a term.

    Terms that the query does not have add their slot's 0, which costs less than a branch.
    """
    norm = norm_of(source.lengths[document], source.saturation)
    once = gain(1.0, norm, source.saturation)
    score, shares = 0.0, False
    begin, end = source.document_offsets[document], source.document_offsets[document + 1]
    for place in range(begin, end):
        entry = source.document_terms[place]
        term = entry & TERM
        slot = term & source.table.in_slots
        held = source.table.slot_terms[slot]
        while min(held ^ term, held ^ NO_TERM) != 0:
            slot = (slot + 1) & source.table.in_slots
            held = source.table.slot_terms[slot]
        shares |= held == term
        weight = source.table.slot_weights[slot]
        if entry == held | REPEATED:
            here = first_from(
                source.repeat_documents,
                source.repeat_offsets[term],
                source.repeat_offsets[term + 1],
                document,
            )
            score += weight * gain(float(source.repeat_counts[here]), norm, source.saturation)
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
    table = table_for(queries.offsets)
    score_with(postings, queries, saturation, documents, scores, table)


@njit(nogil=True, cache=True)
def score_with(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    documents: Int64Array,
    scores: Float32Array,
    table: Table,
) -> None:
    """The same, given the table."""
    source, asked = source_of(postings, table, saturation), queries_of(queries)
    for query in range(len(queries.constants)):
        n = enter(source.table, asked, query)
        for place in range(documents.shape[1]):
            document = documents[query, place]
            if document >= 0:
                total, shares = score_document(source, document)
                scores[query, place] = total + asked.constants[query] if shares else 0.0
        leave(source.table, n)
