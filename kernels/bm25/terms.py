"""Sorted vocabularies in numba: packed UTF-8, ascending by bytes, each term once."""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import Int32Array, Int64Array, UInt8Array, UInt64Array

PREFIX_BYTES = 8


@njit(forceinline=True)
def prefix(packed: UInt8Array, begin: int, end: int) -> np.uint64:
    """The first eight bytes of a term as a number that sorts as they do, zeros after its end."""
    value = np.uint64(0)
    for place in range(begin, min(end, begin + PREFIX_BYTES)):
        value = (value << np.uint64(8)) | np.uint64(packed[place])
    for _ in range(PREFIX_BYTES - min(end - begin, PREFIX_BYTES)):
        value <<= np.uint64(8)
    return value


@njit(nogil=True, cache=True)
def prefixes(packed: UInt8Array, offsets: Int64Array) -> UInt64Array:
    """The prefix of every term: (n,) uint64."""
    values = np.empty(len(offsets) - 1, np.uint64)
    for term in range(len(values)):
        values[term] = prefix(packed, offsets[term], offsets[term + 1])
    return values


@njit(forceinline=True)
def compare(
    a: UInt8Array, a_begin: int, a_end: int, b: UInt8Array, b_begin: int, b_end: int
) -> int:
    """Negative, zero or positive, as the bytes of one term sort before, as or after another's."""
    for place in range(min(a_end - a_begin, b_end - b_begin)):
        difference = np.int64(a[a_begin + place]) - np.int64(b[b_begin + place])
        if difference != 0:
            return difference
    return (a_end - a_begin) - (b_end - b_begin)


@njit(nogil=True, cache=True)
def find(
    packed: UInt8Array,
    offsets: Int64Array,
    vocabulary: UInt8Array,
    vocabulary_offsets: Int64Array,
    vocabulary_prefixes: UInt64Array,
) -> Int64Array:
    """The number of each term in a sorted vocabulary: (n,) int64, -1 where it has none."""
    numbers = np.full(len(offsets) - 1, -1, np.int64)
    n = len(vocabulary_prefixes)
    for term in range(len(numbers)):
        begin, end = offsets[term], offsets[term + 1]
        wanted = prefix(packed, begin, end)
        low, high = 0, n
        while low < high:
            middle = (low + high) >> 1
            if vocabulary_prefixes[middle] < wanted:
                low = middle + 1
            elif vocabulary_prefixes[middle] > wanted:
                high = middle
            else:
                first, last = vocabulary_offsets[middle], vocabulary_offsets[middle + 1]
                difference = compare(vocabulary, first, last, packed, begin, end)
                if difference < 0:
                    low = middle + 1
                elif difference > 0:
                    high = middle
                else:
                    numbers[term] = middle
                    break
    return numbers


@njit(nogil=True, cache=True)
def take(
    packed: UInt8Array, offsets: Int64Array, chosen: Int64Array
) -> tuple[UInt8Array, Int64Array]:
    """The chosen terms, by number, one after the other."""
    taken_offsets = np.zeros(len(chosen) + 1, np.int64)
    for i in range(len(chosen)):
        term = chosen[i]
        taken_offsets[i + 1] = taken_offsets[i] + offsets[term + 1] - offsets[term]
    taken = np.empty(taken_offsets[len(chosen)], np.uint8)
    for i in range(len(chosen)):
        term = chosen[i]
        taken[taken_offsets[i] : taken_offsets[i + 1]] = packed[offsets[term] : offsets[term + 1]]
    return taken, taken_offsets


@njit(nogil=True, cache=True)
def union(
    a: UInt8Array, a_offsets: Int64Array, b: UInt8Array, b_offsets: Int64Array
) -> tuple[UInt8Array, Int64Array]:
    """The terms of two vocabularies."""
    packed = np.empty(len(a) + len(b), np.uint8)
    offsets = np.zeros(len(a_offsets) + len(b_offsets) - 1, np.int64)
    size, n, i, j = 0, 0, 0, 0
    n_a, n_b = len(a_offsets) - 1, len(b_offsets) - 1
    while i < n_a or j < n_b:
        if i == n_a:
            order = 1
        elif j == n_b:
            order = -1
        else:
            order = compare(a, a_offsets[i], a_offsets[i + 1], b, b_offsets[j], b_offsets[j + 1])
        if order <= 0:
            for place in range(a_offsets[i], a_offsets[i + 1]):
                packed[size] = a[place]
                size += 1
        else:
            for place in range(b_offsets[j], b_offsets[j + 1]):
                packed[size] = b[place]
                size += 1
        i += order <= 0
        j += order >= 0
        n += 1
        offsets[n] = size
    return packed[:size].copy(), offsets[: n + 1].copy()


@njit(nogil=True, cache=True)
def order(packed: UInt8Array, offsets: Int64Array) -> Int64Array:
    """The numbers of distinct terms, in the order of their bytes: (n,) int64."""
    numbers = np.arange(len(offsets) - 1)
    pending = [(0, len(numbers), 0)]
    while pending:
        begin, end, depth = pending.pop()
        keys, longest = np.empty(end - begin, np.uint64), 0
        for place in range(begin, end):
            first, last = offsets[numbers[place]], offsets[numbers[place] + 1]
            keys[place - begin] = prefix(packed, min(first + depth, last), last)
            longest = max(longest, last - first)
        if longest <= depth:
            # Alike but for zeros at their ends: the shorter comes first.
            for place in range(begin, end):
                keys[place - begin] = offsets[numbers[place] + 1] - offsets[numbers[place]]
        by_key = np.argsort(keys, kind="mergesort")
        numbers[begin:end] = numbers[begin:end][by_key]
        run = 0
        for place in range(1, end - begin + 1):
            if place == end - begin or keys[by_key[place]] != keys[by_key[run]]:
                if place - run > 1:
                    pending.append((begin + run, begin + place, depth + PREFIX_BYTES))
                run = place
    return numbers


@njit(nogil=True, cache=True)
def distinct(
    terms: Int32Array, offsets: Int64Array, n_terms: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """The distinct terms of each text and how often it has them.

    terms: (n_tokens,) numbers below n_terms; offsets: (n_texts + 1,) where each text begins.
    Returns distinct terms (m,), counts (m,), and where each text's begin (n_texts + 1,).
    """
    found, counts = np.empty(len(terms), np.int64), np.empty(len(terms), np.int64)
    found_offsets = np.zeros(len(offsets), np.int64)
    place_of = np.full(n_terms, -1, np.int64)
    n = 0
    for text in range(len(offsets) - 1):
        first = n
        for place in range(offsets[text], offsets[text + 1]):
            term = terms[place]
            if place_of[term] >= first:
                counts[place_of[term]] += 1
            else:
                place_of[term] = n
                found[n], counts[n] = term, 1
                n += 1
        found_offsets[text + 1] = n
    return found[:n], counts[:n], found_offsets
