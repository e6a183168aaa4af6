"""A bounded heap of (score, row) in numba: the worst on top, of equal scores the higher row.

``scores`` and ``rows`` may be arrays or pointers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .lanes import pointer
from .layout import Best, Float32Array, Int64Array


@njit(forceinline=True)
def worse(score: np.float32, row: int, than_score: np.float32, than_row: int) -> bool:
    """Whether one entry ranks below another."""
    return score < than_score or (score == than_score and row > than_row)


@njit(forceinline=True)
def sink(scores: Float32Array, rows: Int64Array, size: int, score: np.float32, row: int) -> None:
    """Replace the top of a heap by another entry."""
    place, child = 0, 1
    while child < size:
        other = child + 1
        if other < size and worse(scores[other], rows[other], scores[child], rows[child]):
            child = other
        if not worse(scores[child], rows[child], score, row):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
        child = 2 * place + 1
    scores[place], rows[place] = score, row


@njit(forceinline=True)
def push(
    scores: Float32Array, rows: Int64Array, size: int, capacity: int, score: np.float32, row: int
) -> int:
    """Insert an entry, dropping the worst where the heap is full; returns the new size."""
    if size < capacity:
        place = size
        while place > 0:
            parent = (place - 1) >> 1
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
    last = size - 1
    score, row = scores[0], rows[0]
    sink(scores, rows, last, scores[last], rows[last])
    scores[last], rows[last] = score, row
    return last


@njit(nogil=True, cache=True)
def sort_best_first(best: Best) -> None:
    """Sort the heaps of all queries in place."""
    k = best.rows.shape[1]
    for query in range(len(best.sizes)):
        scores, rows = pointer(best.scores, query * k), pointer(best.rows, query * k)
        size = best.sizes[query]
        while size > 1:
            size = pop(scores, rows, size)
