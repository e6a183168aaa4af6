"""Where vectors lie in their file: those that one search reads lie beside each other.

A search reads a dozen vectors, which are near each other. So the file has them list by list, each
in its home, and in a list by a walk that always goes to the nearest vector not yet visited. On
249,000 sentence vectors of 384 numbers, in 2,048 clusters, the 14 nearest of a query lie in 8.9
stretches of 13.8 pages, in order of arrival in 14.0 of 17.6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, Int64Array
from ...kernels.lists import rearrange, walk
from .space import Space
from .threads import Done, followed, in_runs

_LONGEST = 1024
"""So many vectors of a list are walked through at once."""
_BLOCK = 4096
"""About so many vectors are one thread's at a time."""


def laid_together(
    vectors: Array, space: Space, homes: NDArray[np.int32], done: Done
) -> NDArray[np.int32]:
    """Move vectors (n, dim) about in their file; returns where each lies now: (n,)."""
    order = _together(vectors, space, homes, done)
    rearrange(vectors.view(np.uint8), order)
    slots = np.empty(len(order), np.int32)
    slots[order] = np.arange(len(order), dtype=np.int32)
    return slots


def _together(vectors: Array, space: Space, homes: NDArray[np.int32], done: Done) -> Int64Array:
    """The places (n,) of vectors in the order in which their file should have them."""
    order = np.argsort(homes, kind="stable")
    borders = np.flatnonzero(np.diff(homes[order])) + 1
    parts = [
        part[first : first + _LONGEST]
        for part in np.split(order, borders)
        for first in range(0, len(part), _LONGEST)
    ]

    def walked(part: Int64Array) -> Int64Array:
        points = space.placed(vectors, part)
        squares = np.einsum("nd,nd->n", points, points)
        order: Int64Array = walk(squares - 2 * points @ points.T)  # less a constant of each row
        return part[order]

    def run(numbers: Int64Array, done: Done) -> Int64Array:
        order = np.concatenate([walked(parts[number]) for number in numbers.tolist()])
        done(len(order))
        return order

    sizes = np.array([len(part) for part in parts])
    return np.concatenate(followed(run, in_runs(sizes, _BLOCK), done))
