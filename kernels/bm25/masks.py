"""Masks over rows as bits over documents, and the statistics of what they let through, in numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes
from .layout import Int32Array, Int64Array, Postings, UInt32Array, UInt64Array


@njit(nogil=True, cache=True)
def bits_of(positions: Int64Array, numbers: UInt32Array) -> UInt64Array:
    """One bit per document, by number, set for the documents at some positions in row order."""
    bits = np.zeros((len(numbers) + 63) // 64, np.uint64)
    for position in positions:
        number = numbers[position]
        bits[number >> 6] |= np.uint64(1) << np.uint64(number & 63)
    return bits


@njit(nogil=True, cache=True)
def count_documents(bits: UInt64Array, lengths: UInt32Array) -> tuple[int, int]:
    """How many documents have a bit set, and the sum of their lengths."""
    n, total = 0, 0
    for place in range(len(bits)):
        word = bits[place]
        while word:
            total += lengths[64 * place + lanes.lowest_one(word)]
            n += 1
            word &= word - np.uint64(1)
    return n, total


@njit(nogil=True, cache=True)
def count_terms(
    bits: UInt64Array, terms: Int64Array, postings: Postings, known: Int32Array
) -> None:
    """In how many documents whose bit is set some terms are: filled into ``known``.

    known: (v,) -1 for the terms not counted yet; terms: -1 is none.
    """
    lists, listed, bitmaps = postings.lists, postings.listed, postings.bitmaps
    frequencies = postings.document_frequencies
    n_words = len(bits)
    for term in terms:
        if term < 0 or known[term] >= 0:
            continue
        n = 0
        begin = lists[term]
        if begin >= 0:
            for place in range(begin, begin + frequencies[term]):
                document = listed[place]
                n += (bits[document >> 6] >> np.uint64(document & 63)) & np.uint64(1)
        else:
            begin = ~begin * n_words
            for word in range(n_words):
                n += lanes.count_ones(bits[word] & bitmaps[begin + word])
        known[term] = n
