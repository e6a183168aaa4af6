"""A bounded heap of (score, row): the worst on top, of equal scores the higher row."""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import Float32Array, Int64Array

ONE = np.uint64(1)


@njit(forceinline=True)
def worse(score: np.float32, row: int, than_score: np.float32, than_row: int) -> bool:
    """Whether one entry ranks below another."""
    return score < than_score or (score == than_score and row > than_row)


@njit(forceinline=True)
def sink(scores: Float32Array, rows: Int64Array, size: int, score: np.float32, row: int) -> None:
    """Replace the top of a heap by another entry."""
    place, end = np.uint64(0), np.uint64(size)
    child = ONE
    while child < end:
        other = child + ONE
        if other < end and worse(scores[other], rows[other], scores[child], rows[child]):
            child = other
        if not worse(scores[child], rows[child], score, row):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
        child = place + place + ONE
    scores[place], rows[place] = score, row


@njit(forceinline=True)
def push(
    scores: Float32Array, rows: Int64Array, size: int, capacity: int, score: np.float32, row: int
) -> int:
    """Insert an entry, dropping the worst where the heap is full; returns the new size."""
    if size < capacity:
        place = np.uint64(size)
        while place > np.uint64(0):
            parent = (place - ONE) >> ONE
            if not worse(score, row, scores[parent], rows[parent]):
                break
            scores[place], rows[place] = scores[parent], rows[parent]
            place = parent
        scores[place], rows[place] = score, row
        return size + 1
    if worse(scores[0], rows[0], score, row):
        sink(scores, rows, size, score, row)
    return size


@njit(forceinline=True)
def pop(scores: Float32Array, rows: Int64Array, size: int) -> int:
    """Move the top behind the heap's end; returns the new size."""
    score, row = scores[0], rows[0]
    last = np.uint64(size - 1)
    sink(scores, rows, size - 1, scores[last], rows[last])
    scores[last], rows[last] = score, row
    return size - 1


@njit(nogil=True, cache=True)
def sort_best_first(scores: Float32Array, rows: Int64Array, sizes: Int64Array) -> None:
    """Sort the heaps of all queries in place: (n, k) float32, (n, k) int64, sizes (n,) int64."""
    for query in range(len(sizes)):
        size = sizes[query]
        while size > 1:
            size = pop(scores[query], rows[query], size)
