"""Inverting documents in numba; the documents' own weights are there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import DTypeLike, NDArray

from .layout import (
    BLOCK,
    LANES,
    LIST_STEPS,
    ROW_LEAST,
    ROW_SHARE,
    ROW_STEPS,
    STEPS,
    Float32Array,
    Impacts,
    Int32Array,
    Int64Array,
    UInt8Array,
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
    """Which row each term is, -1 for none: ``Impacts.row_numbers``."""
    is_row = frequencies >= max(ROW_LEAST, -(-n_documents // ROW_SHARE))
    return np.where(is_row, np.cumsum(is_row) - 1, -1).astype(np.int32)


@njit(forceinline=True)
def impact(weight: np.float32, largest: np.float32, steps: int) -> int:
    """A weight in steps of the term's largest, rounded up; 1 to ``steps``.

    Division and product are in float64, where they may come out a trifle above a whole number:
    then it is the next one, which is no less right.
    """
    return min(steps, max(1, np.int64(np.ceil(np.float64(weight) / np.float64(largest) * steps))))


def invert(
    rows: Int64Array,
    starts: Int64Array,
    terms: UInt16Array | UInt32Array,
    weights: Float32Array,
    n_terms: int,
    create: Callable[[str, DTypeLike, tuple[int, ...]], NDArray[Any]],
) -> Impacts:
    """Invert documents; ``create(name, dtype, shape)`` gives arrays of zeros."""
    frequencies, largest, runs = count(starts, terms, weights, n_terms)
    row_numbers = plan_rows(frequencies, len(rows))
    n_rows, run_starts = int(np.count_nonzero(row_numbers >= 0)), offsets_of(runs)
    n_runs = int(run_starts[-1])
    wide = len(rows) > BLOCK << 16

    def filled(name: str, values: NDArray[Any]) -> NDArray[Any]:
        array = create(name, values.dtype, values.shape)
        array[:] = values
        return array

    impacts = Impacts(
        rows,
        starts,
        terms,
        weights,
        filled("frequencies", frequencies),
        filled("largest", largest),
        filled("row_numbers", row_numbers),
        create("row_impacts", np.uint8, (n_rows * row_bytes(len(rows)),)),
        create("row_counts", np.int32, (n_rows * STEPS,)),
        filled("run_starts", run_starts),
        create("run_blocks", np.uint32 if wide else np.uint16, (n_runs,)),
        create("run_begins", np.int64, (n_runs + 1,)),
        create("listed", np.uint16, (len(terms),)),
        create("impacts", np.uint8, (len(terms),)),
    )
    impacts = Impacts(*(array.view(np.ndarray) for array in impacts))  # memory maps among them
    fill(impacts)
    sort_runs(impacts.run_begins, impacts.listed, impacts.impacts)
    count_rows(impacts)
    return impacts


@njit(nogil=True, cache=True)
def fill(impacts: Impacts) -> None:
    """Fill in rows, runs and lists, a run's documents ascending; all else is there."""
    starts, terms, weights = impacts.starts, impacts.terms, impacts.weights
    largest, row_numbers = impacts.largest, impacts.row_numbers
    run_starts, run_blocks, run_begins = impacts.run_starts, impacts.run_blocks, impacts.run_begins
    listed, values, row_impacts = impacts.listed, impacts.impacts, impacts.row_impacts
    n_documents = len(starts) - 1
    half, width = LANES // 2, (n_documents + LANES - 1) // LANES * (LANES // 2)
    next_place, next_run = np.zeros(len(largest), np.int64), run_starts[:-1].copy()
    last_block = np.full(len(largest), -1, np.int64)
    begin = 0
    for term in range(len(largest)):
        next_place[term] = begin
        begin += impacts.frequencies[term]
    run_begins[len(run_blocks)] = begin
    for document in range(n_documents):
        block = document // BLOCK
        within = document % LANES
        at, shift = document // LANES * half + within % half, within // half * 4
        for place in range(starts[document], starts[document + 1]):
            term = np.int64(terms[place])
            row = np.int64(row_numbers[term])
            if row >= 0:
                small = impact(weights[place], largest[term], ROW_STEPS)
                row_impacts[row * width + at] |= np.uint8(small << shift)
            if last_block[term] != block:
                last_block[term] = block
                run_blocks[next_run[term]] = block
                run_begins[next_run[term]] = next_place[term]
                next_run[term] += 1
            listed[next_place[term]] = document - block * BLOCK
            values[next_place[term]] = impact(weights[place], largest[term], LIST_STEPS)
            next_place[term] += 1


@njit(nogil=True, cache=True)
def sort_runs(run_begins: Int64Array, listed: UInt16Array, values: UInt8Array) -> None:
    """Put the largest impacts of each run first; equal ones stay as they are."""
    held, held_values = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint8)
    for run in range(len(run_begins) - 1):
        begin, end = run_begins[run], run_begins[run + 1]
        if end - begin == 1:
            continue
        places = np.zeros(LIST_STEPS + 2, np.int64)
        for place in range(begin, end):
            held[place - begin], held_values[place - begin] = listed[place], values[place]
            places[LIST_STEPS + 1 - values[place]] += 1
        places[0] = begin
        for step in range(1, LIST_STEPS + 2):
            places[step] += places[step - 1]
        for i in range(end - begin):
            step = LIST_STEPS - held_values[i]
            listed[places[step]], values[places[step]] = held[i], held_values[i]
            places[step] += 1


@njit(nogil=True, cache=True)
def count_rows(impacts: Impacts) -> None:
    """Fill in ``row_counts``, once the lists are there."""
    for term in range(len(impacts.row_numbers)):
        row = np.int64(impacts.row_numbers[term])
        if row < 0:
            continue
        counts = impacts.row_counts[STEPS * row : STEPS * (row + 1)]
        first, last = impacts.run_starts[term], impacts.run_starts[term + 1]
        for place in range(impacts.run_begins[first], impacts.run_begins[last]):
            counts[impacts.impacts[place]] += 1
        for step in range(LIST_STEPS - 1, -1, -1):
            counts[step] += counts[step + 1]


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
