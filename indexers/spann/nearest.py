"""The nearest of many points, looked at block after block, so that memory need hold only one.

And the nearest of very many, which stand in groups: a query is compared with those of its nearest
groups. Of a million vectors of 96 numbers in 24,920 lists (158 groups) 99.97% find the nearest
centroid, and all 99.6% of their 16 nearest, in a fourteenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import nearer
from .clustering import own_clusters

_NEAR = 24
"""Groups whose points a query is compared with."""
_POINTS = 1024
"""Of a group, so many are compared with queries at once: it may have very many that are equal."""


class Grouped(NamedTuple):
    """Points in groups: the groups' means, and of each its points and their numbers.

    ``points`` (m, width) group after group, from ``starts`` (g + 1,); ``numbers`` (m,) int32.
    """

    means: Float32Array
    points: Float32Array
    numbers: NDArray[np.int32]
    starts: Int64Array


def in_groups(points: Float32Array) -> Grouped | None:
    """(m, width) points in about as many groups as each has points; None of few points."""
    if len(points) < (2 * _NEAR) ** 2:
        return None
    means, numbers, starts = own_clusters(points)
    return Grouped(means, points[numbers], numbers, starts)


def near_of(
    queries: Float32Array, groups: Grouped, width: int
) -> tuple[NDArray[np.int32], Float32Array]:
    """As :func:`nearest_of`, of the points of the nearest groups of each of the queries (n, d)."""
    means, points, numbers, starts = groups
    near, _ = nearest_of(queries, [means], _NEAR)
    asked = near.ravel()
    order = np.argsort(asked, kind="stable")
    ends = np.searchsorted(asked[order], np.arange(len(means) + 1))
    ids = np.full((len(queries), width), -1, np.int32)
    apart = np.full((len(queries), width), np.inf, np.float32)
    for group in np.flatnonzero(np.diff(ends)).tolist():
        rows = order[ends[group] : ends[group + 1]] // near.shape[1]
        asking = queries[rows]
        for first in range(starts[group], starts[group + 1], _POINTS):
            own = slice(first, min(first + _POINTS, starts[group + 1]))
            squares = np.einsum("md,md->m", points[own], points[own])
            nearer(asking @ points[own].T, squares, numbers[own], rows, ids, apart)
    return ids, apart


def nearest_of(
    queries: Float32Array, blocks: Iterable[Float32Array], width: int, first: int = 0
) -> tuple[NDArray[np.int32], Float32Array]:
    """The ``width`` points nearest to each of the queries (n, d), nearest first: (n, width).

    Numbers of points, -1 for none, of equal ones the lower first; and their squared distances less
    the query's own square. The blocks are (m, d), numbered from ``first``.
    """
    ids = np.full((len(queries), width), -1, np.int32)
    apart = np.full((len(queries), width), np.inf, np.float32)
    rows = np.arange(len(queries))
    for points in blocks:
        squares = np.einsum("md,md->m", points, points)
        numbers = np.arange(first, first + len(points), dtype=np.int32)
        nearer(queries @ points.T, squares, numbers, rows, ids, apart)
        first += len(points)
    return ids, apart
