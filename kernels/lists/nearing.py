"""The nearest of many points, of which a few at a time are compared with some of the queries.

And a walk from one point to the nearest that is left; and who stands in which list.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array


@numba.njit(cache=True, nogil=True)
def nearer(
    products: Float32Array,
    squares: Float32Array,
    numbers: NDArray[np.int32],
    rows: Int64Array,
    ids: NDArray[np.int32],
    apart: Float32Array,
) -> None:
    """See :mod:`cormorant.kernels.lists`."""
    last = ids.shape[1] - 1
    for row in range(len(rows)):
        own, far = ids[rows[row]], apart[rows[row]]
        for column in range(len(numbers)):
            distance = squares[column] - np.float32(2.0) * products[row, column]
            if distance > far[last]:
                continue
            number = numbers[column]
            if distance == far[last] and number > own[last] >= 0:
                continue
            at = last
            while at > 0 and (
                far[at - 1] > distance or (far[at - 1] == distance and own[at - 1] > number)
            ):
                far[at], own[at] = far[at - 1], own[at - 1]
                at -= 1
            far[at], own[at] = distance, number


@numba.njit(cache=True, nogil=True)
def walk(apart: Float32Array) -> Int64Array:
    """See :mod:`cormorant.kernels.lists`."""
    left = np.arange(len(apart))
    for step in range(1, len(apart)):
        own, best = apart[left[step - 1]], step
        for at in range(step + 1, len(apart)):
            if own[left[at]] < own[left[best]] or (
                own[left[at]] == own[left[best]] and left[at] < left[best]
            ):
                best = at
        left[step], left[best] = left[best], left[step]
    return left


@numba.njit(cache=True, nogil=True)
def members(lists: NDArray[np.int32], m: int) -> tuple[Int64Array, NDArray[np.int32]]:
    """See :mod:`cormorant.kernels.lists`."""
    counts = np.zeros(m, np.int64)
    for row in range(len(lists)):
        for number in lists[row]:
            if number >= 0:
                counts[number] += 1
    at = np.cumsum(counts) - counts
    places = np.empty(counts.sum(), np.int32)
    for copies in (False, True):
        for row in range(len(lists)):
            for number in lists[row, 1:] if copies else lists[row, :1]:
                if number >= 0:
                    places[at[number]] = row
                    at[number] += 1
    return counts, places
