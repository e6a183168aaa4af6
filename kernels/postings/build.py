"""Inverting documents in numba; the documents' own weights are there already."""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import (
    BLOCK,
    GROUP,
    LANES,
    LIST_STEPS,
    ROW_LEAST,
    ROW_SHARE,
    ROW_STEPS,
    Float32Array,
    Impacts,
    Int32Array,
    Int64Array,
    UInt16Array,
    UInt32Array,
    row_bytes,
)


@njit(nogil=True, cache=True)
def count(
    starts: Int64Array, terms: UInt16Array | UInt32Array, weights: Float32Array, n_terms: int
) -> tuple[Int32Array, Float32Array, Int64Array]:
    """Of each term how many documents have it, its largest weight, and in how many blocks it is."""
    frequencies = np.zeros(n_terms, np.int32)
    largest = np.zeros(n_terms, np.float32)
    runs, last_block = np.zeros(n_terms, np.int64), np.full(n_terms, -1, np.int64)
    for document in range(len(starts) - 1):
        block = document // BLOCK
        for place in range(starts[document], starts[document + 1]):
            term = terms[place]
            frequencies[term] += 1
            largest[term] = max(largest[term], weights[place])
            if last_block[term] != block:
                last_block[term] = block
                runs[term] += 1
    return frequencies, largest, runs


def plan_rows(frequencies: Int32Array, n_documents: int) -> Int32Array:
    """Which row each term is, -1 for lists: ``Impacts.row_numbers``."""
    is_row = frequencies >= max(ROW_LEAST, -(-n_documents // ROW_SHARE))
    return np.where(is_row, np.cumsum(is_row) - 1, -1).astype(np.int32)


@njit(forceinline=True)
def impact(weight: np.float32, largest: np.float32, steps: int) -> int:
    """A weight in steps of the term's largest, rounded up; 1 to ``steps``.

    Division and product are in float64, where they may come out a trifle above a whole number:
    then it is the next one, which is no less right.
    """
    return min(steps, max(1, np.int64(np.ceil(np.float64(weight) / np.float64(largest) * steps))))


@njit(nogil=True, cache=True)
def invert(impacts: Impacts) -> None:
    """Fill in rows, runs and lists; all else is there, ``run_starts`` too."""
    starts, terms, weights = impacts.starts, impacts.terms, impacts.weights
    largest, row_numbers = impacts.largest, impacts.row_numbers
    run_starts, run_blocks, run_begins = impacts.run_starts, impacts.run_blocks, impacts.run_begins
    listed, values, row_impacts = impacts.listed, impacts.impacts, impacts.row_impacts
    n_documents = len(starts) - 1
    width = (n_documents + GROUP - 1) // GROUP * LANES
    next_place, next_run = np.zeros(len(largest), np.int64), run_starts[:-1].copy()
    last_block = np.full(len(largest), -1, np.int64)
    begin = 0
    for term in range(len(largest)):
        next_place[term] = begin
        if row_numbers[term] < 0:
            begin += impacts.frequencies[term]
    run_begins[len(run_blocks)] = begin
    for document in range(n_documents):
        block = document // BLOCK
        within = document % GROUP
        at, shift = document // GROUP * LANES + within % LANES, within // LANES * 4
        for place in range(starts[document], starts[document + 1]):
            term = np.int64(terms[place])
            row = np.int64(row_numbers[term])
            if row >= 0:
                half = impact(weights[place], largest[term], ROW_STEPS)
                row_impacts[row * width + at] |= np.uint8(half << shift)
                continue
            if last_block[term] != block:
                last_block[term] = block
                run_blocks[next_run[term]] = block
                run_begins[next_run[term]] = next_place[term]
                next_run[term] += 1
            listed[next_place[term]] = document - block * BLOCK
            values[next_place[term]] = impact(weights[place], largest[term], LIST_STEPS)
            next_place[term] += 1


def sizes(
    frequencies: Int32Array, runs: Int64Array, row_numbers: Int32Array, n_documents: int
) -> tuple[Int64Array, int, int]:
    """``run_starts``, and the lengths of ``listed`` and ``row_impacts``."""
    is_list = row_numbers < 0
    run_starts = np.zeros(len(runs) + 1, np.int64)
    np.cumsum(np.where(is_list, runs, 0), out=run_starts[1:])
    n_listed = int(frequencies[is_list].sum(dtype=np.int64))
    return run_starts, n_listed, int((~is_list).sum()) * row_bytes(n_documents)


def offsets_of(sizes: Int64Array) -> Int64Array:
    """Where things of these sizes begin, one after the other, and where the last ends."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


@njit(nogil=True, cache=True)
def copy(
    old_starts: Int64Array,
    old_terms: UInt16Array | UInt32Array,
    documents: Int64Array,
    new_terms: Int64Array,
    starts: Int64Array,
    terms: UInt16Array | UInt32Array,
    targets: Int64Array,
) -> None:
    """Copy the terms of some documents to the places of others, under new numbers.

    Both vocabularies ascend alike, so terms that ascended still do.
    """
    for i in range(len(documents)):
        at = starts[targets[i]]
        for place in range(old_starts[documents[i]], old_starts[documents[i] + 1]):
            terms[at] = new_terms[old_terms[place]]
            at += 1


@njit(nogil=True, cache=True)
def copy_weights(
    old_starts: Int64Array,
    old_weights: Float32Array,
    documents: Int64Array,
    starts: Int64Array,
    weights: Float32Array,
    targets: Int64Array,
) -> None:
    """Copy the weights of some documents to the places of others."""
    for i in range(len(documents)):
        at = starts[targets[i]]
        for place in range(old_starts[documents[i]], old_starts[documents[i] + 1]):
            weights[at] = old_weights[place]
            at += 1
