"""What inverted lists are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array


class Groups(NamedTuple):
    """A second level: g groups of lists. Centre i is ``scales[i] * centroids[i]``.

    ``squares`` are the squared lengths; group i's lists are those from ``starts[i]`` to
    ``starts[i + 1]``, (g + 1,) int32.
    """

    centroids: NDArray[np.int8]
    scales: Float32Array
    squares: Float32Array
    starts: NDArray[np.int32]


class Lists(NamedTuple):
    """m lists. Centroid i is ``scales[i] * centroids[i]``, ``squares`` its squared length.

    ``centroids`` (m, dim) int8, ``counts`` (m,) int32. List i is a record of ``counts[i]`` codes of
    ``bits`` bits (:mod:`cormorant.kernels.rabitq`): in ``kept`` (in memory) from ``slots[i]``,
    where that is not -1, else in ``paged`` (on disk) from ``offsets[i]``; both uint8. ``groups``:
    where near centroids are looked for.
    """

    centroids: NDArray[np.int8]
    scales: Float32Array
    squares: Float32Array
    counts: NDArray[np.int32]
    slots: Int64Array
    kept: NDArray[np.uint8]
    offsets: Int64Array
    paged: NDArray[np.uint8]
    bits: int
    groups: Groups


class Rule(NamedTuple):
    """How far a search goes; see ``choose``."""

    eps2: float
    radius: float
    most: int
    least: int

    def bound(self, nearest: float) -> float:
        """How far a list's centroid may be; infinite where ``eps2`` is."""
        if np.isinf(self.eps2):
            return float("inf")  # even where the nearest is at no distance
        return nearest + self.eps2 * max(nearest, self.radius)


class Survivors(NamedTuple):
    """What is left to look at: (n,) places and estimates, nearest first; codes scanned.

    ``needs`` (n,): the least slack with which each would have been left.
    """

    places: Int64Array
    estimates: Float32Array
    needs: Float32Array
    codes: int


def opened(
    centroids: NDArray[np.int8],
    scales: Float32Array,
    counts: NDArray[np.int32],
    offsets: Int64Array,
    paged: NDArray[np.uint8],
    bits: int,
    groups: Groups | None = None,
) -> Lists:
    """Lists none of which is kept in memory."""
    if groups is None:
        no_centres = np.zeros((0, centroids.shape[1]), np.int8)
        groups = grouped(no_centres, np.zeros(0, np.float32), np.zeros(1, np.int32))
    return Lists(
        centroids,
        scales,
        _squares(centroids, scales),
        counts,
        np.full(len(counts), -1, np.int64),
        np.zeros(0, np.uint8),
        offsets,
        paged,
        bits,
        groups,
    )


def grouped(
    centroids: NDArray[np.int8],
    scales: Float32Array,
    starts: NDArray[np.int32],
) -> Groups:
    """A second level."""
    return Groups(centroids, scales, _squares(centroids, scales), starts)


def _squares(centroids: NDArray[np.int8], scales: Float32Array) -> Float32Array:
    squares = np.einsum("md,md->m", centroids, centroids, dtype=np.float64)
    squares *= np.square(scales, dtype=np.float64)
    narrowed: Float32Array = squares.astype(np.float32)
    return narrowed
