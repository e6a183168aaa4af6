"""Inverting documents, and inverting inverted documents again, in numba.

Both write in the same way: documents in the order of their numbers, their terms ascending.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import (
    BITMAP_LEAST,
    BITMAP_SHARE,
    REPEATED,
    Int32Array,
    Int64Array,
    Postings,
    UInt32Array,
    UInt64Array,
    words,
)
from .scoring import first_from

FEW = 32
"""So many terms are sorted by insertion."""


@njit(nogil=True, cache=True)
def number_documents(lengths: Int64Array) -> tuple[UInt32Array, UInt32Array]:
    """Number documents by (length, position): returns numbers and positions, (n,) uint32 each."""
    n, longest = len(lengths), 0
    for length in lengths:
        longest = max(longest, length)
    numbers, positions = np.empty(n, np.uint32), np.empty(n, np.uint32)
    next_number = np.zeros(longest + 2, np.int64)
    for length in lengths:
        next_number[length + 1] += 1
    for length in range(longest + 1):
        next_number[length + 1] += next_number[length]
    for position in range(n):
        number = next_number[lengths[position]]
        next_number[lengths[position]] += 1
        numbers[position], positions[number] = number, position
    return numbers, positions


@njit(nogil=True, cache=True)
def count_terms(
    tokens: Int32Array, offsets: Int64Array, ranks: Int64Array
) -> tuple[Int64Array, Int32Array, Int64Array]:
    """Count terms of documents and documents of terms.

    tokens: the terms of all documents, in the lexicon's numbers; ranks: the lexicon's numbers ->
    those of the sorted vocabulary. Returns how many distinct terms each document has (n,), and how
    many documents have each term (v,), and have it more than once (v,).
    """
    n = len(offsets) - 1
    distinct = np.zeros(n, np.int64)
    frequencies, repeats = np.zeros(len(ranks), np.int32), np.zeros(len(ranks), np.int64)
    last_document = np.full(len(ranks), -1, np.int64)
    last_repeat = np.full(len(ranks), -1, np.int64)
    for document in range(n):
        for place in range(offsets[document], offsets[document + 1]):
            token = tokens[place]
            if last_document[token] != document:
                last_document[token] = document
                frequencies[ranks[token]] += 1
                distinct[document] += 1
            elif last_repeat[token] != document:
                last_repeat[token] = document
                repeats[ranks[token]] += 1
    return distinct, frequencies, repeats


def plan_lists(frequencies: Int32Array, n_documents: int) -> tuple[Int64Array, int, int]:
    """Where each term's postings go: ``Postings.lists``, and the sizes of listed and bitmaps."""
    least = max(BITMAP_LEAST, -(-n_documents // BITMAP_SHARE))
    dense = frequencies >= least
    listed = np.where(dense, 0, frequencies).astype(np.int64)
    lists = np.cumsum(listed) - listed
    n_dense = int(dense.sum())
    lists[dense] = ~np.arange(n_dense)
    return lists, int(listed.sum()), n_dense * words(n_documents)


@njit(nogil=True, cache=True)
def invert(tokens: Int32Array, offsets: Int64Array, ranks: Int64Array, postings: Postings) -> None:
    """Fill in the terms of every document and the documents of every term."""
    positions, lists = postings.positions, postings.lists
    document_offsets, document_terms = postings.document_offsets, postings.document_terms
    listed, bitmaps = postings.listed, postings.bitmaps
    repeat_documents, repeat_counts = postings.repeat_documents, postings.repeat_counts
    next_place, next_repeat = lists.copy(), postings.repeat_offsets[:-1].copy()
    n_words = (len(positions) + 63) // 64
    counts = np.zeros(len(lists), np.int32)
    distinct = np.empty(len(lists), np.int64)
    for document in range(len(positions)):
        position = positions[document]
        n = 0
        for place in range(offsets[position], offsets[position + 1]):
            term = ranks[tokens[place]]
            if counts[term] == 0:
                distinct[n] = term
                n += 1
            counts[term] += 1
        sort(distinct, n)
        begin = document_offsets[document]
        for i in range(n):
            term = distinct[i]
            count = counts[term]
            counts[term] = 0
            document_terms[begin + i] = term
            if count > 1:
                document_terms[begin + i] = np.uint32(term) | REPEATED
                place = next_repeat[term]
                next_repeat[term] = place + 1
                repeat_documents[place], repeat_counts[place] = document, count
            post(document, term, next_place, listed, bitmaps, n_words)


@njit(forceinline=True)
def post(
    document: int,
    term: int,
    next_place: Int64Array,
    listed: UInt32Array,
    bitmaps: UInt64Array,
    n_words: int,
) -> None:
    """Add a document to a term's list or bitmap."""
    place = next_place[term]
    if place >= 0:
        next_place[term] = place + 1
        listed[place] = document
    else:
        bitmaps[~place * n_words + (document >> 6)] |= np.uint64(1) << np.uint64(document & 63)


@njit(forceinline=True)
def sort(values: Int64Array, n: int) -> None:
    """Sort the first n values."""
    if n > FEW:
        values[:n].sort()
        return
    for i in range(1, n):
        value, place = values[i], i
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@njit(nogil=True, cache=True)
def count_kept(postings: Postings, documents: UInt32Array) -> tuple[Int32Array, Int64Array]:
    """How many of some documents have each term (v,), and have it more than once (v,)."""
    document_offsets, document_terms = postings.document_offsets, postings.document_terms
    frequencies = np.zeros(len(postings.lists), np.int32)
    repeats = np.zeros(len(postings.lists), np.int64)
    for number in range(len(documents)):
        document = np.int64(documents[number])
        for place in range(document_offsets[document], document_offsets[document + 1]):
            entry = document_terms[place]
            frequencies[entry & ~REPEATED] += 1
            repeats[entry & ~REPEATED] += entry >= REPEATED
    return frequencies, repeats


@njit(nogil=True, cache=True)
def copy_kept(
    source: Postings,
    new_numbers: Int64Array,
    new_terms: Int64Array,
    target: Postings,
    next_place: Int64Array,
    next_repeat: Int64Array,
) -> None:
    """Append what is kept of one index to the lists of another.

    new_numbers: of each document, -1 where it is not kept; new_terms: of each term. ``next_place``
    and ``next_repeat``, of each new term, go on from index to index.
    """
    old_offsets, old_terms = source.document_offsets, source.document_terms
    old_repeat_offsets = source.repeat_offsets
    old_repeat_documents, old_repeat_counts = source.repeat_documents, source.repeat_counts
    document_offsets, document_terms = target.document_offsets, target.document_terms
    listed, bitmaps = target.listed, target.bitmaps
    repeat_documents, repeat_counts = target.repeat_documents, target.repeat_counts
    n_words = (len(target.positions) + 63) // 64
    for old in range(len(new_numbers)):
        document = new_numbers[old]
        if document < 0:
            continue
        begin = document_offsets[document]
        for place in range(old_offsets[old], old_offsets[old + 1]):
            old_term = old_terms[place] & ~REPEATED
            term = new_terms[old_term]
            document_terms[begin] = term
            if old_terms[place] != old_term:
                document_terms[begin] = np.uint32(term) | REPEATED
                here = first_from(
                    old_repeat_documents,
                    old_repeat_offsets[old_term],
                    old_repeat_offsets[old_term + 1],
                    old,
                )
                there = next_repeat[term]
                next_repeat[term] = there + 1
                repeat_documents[there] = document
                repeat_counts[there] = old_repeat_counts[here]
            begin += 1
            post(document, term, next_place, listed, bitmaps, n_words)


@njit(nogil=True, cache=True)
def sort_lists(postings: Postings) -> None:
    """Sort every list that several indexes were appended to."""
    lists, frequencies, listed = postings.lists, postings.document_frequencies, postings.listed
    repeat_offsets = postings.repeat_offsets
    repeat_documents, repeat_counts = postings.repeat_documents, postings.repeat_counts
    for term in range(len(lists)):
        begin = lists[term]
        if begin >= 0:
            documents = listed[begin : begin + frequencies[term]]
            if not ascends(documents):
                documents.sort()
        begin, end = repeat_offsets[term], repeat_offsets[term + 1]
        documents = repeat_documents[begin:end]
        if not ascends(documents):
            pairs = np.empty(end - begin, np.int64)
            for i in range(end - begin):
                pairs[i] = np.int64(documents[i]) << 32 | np.int64(repeat_counts[begin + i])
            pairs.sort()
            for i in range(end - begin):
                documents[i] = pairs[i] >> 32
                repeat_counts[begin + i] = pairs[i] & 0x7FFFFFFF


@njit(nogil=True, cache=True)
def ascends(values: UInt32Array) -> bool:
    """Whether each value is larger than the one before."""
    for i in range(1, len(values)):  # noqa: SIM110 (numba compiles no all())
        if values[i] <= values[i - 1]:
            return False
    return True
