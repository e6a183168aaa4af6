"""The nearest of many points, looked at block after block, so that memory need hold only one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import closest


def nearest_of(
    queries: Float32Array, blocks: Iterable[Float32Array], width: int
) -> tuple[Int64Array, Float32Array]:
    """The ``width`` points nearest to each of the queries (n, d), nearest first: (n, width).

    Numbers of points, -1 for none, of equal ones the lower first; and their squared distances less
    the query's own square. The blocks are (m, d).
    """
    numbers = np.full((len(queries), 0), -1, np.int64)
    apart = np.full((len(queries), 0), np.inf, np.float32)
    first = 0
    for points in blocks:
        squares = np.einsum("md,md->m", points, points)
        ids, distances = closest(queries @ points.T, squares, width)
        numbers = np.concatenate([numbers, np.where(ids < 0, -1, ids + first)], axis=1)
        apart = np.concatenate([apart, distances], axis=1)
        order = np.argsort(apart, axis=1, kind="stable")[:, :width]
        numbers = np.take_along_axis(numbers, order, axis=1)
        apart = np.take_along_axis(apart, order, axis=1)
        first += len(points)
    return numbers, apart
