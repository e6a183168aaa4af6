"""Balanced clusters of a bounded size, level after level (SPANN, section 3.2.1).

A node of more vectors than a list should hold is cut into up to ``_FAN`` parts by k-means on a
sample, in which a cluster's size counts against it (equation 1's penalty); then each part, several
at a time. A large part's vectors are read in blocks at each level, a small one's once for all.
Vectors that no centroid tells apart (duplicates) are cut into parts all the same, so that it ends.
Centroids are the means of the last parts, rounded to 8 bits a number, which is how they are kept.

The paper replaces a mean by the vector nearest to it, which suits its clusters of six. At sixty a
list that costs recall: 249,000 sentence vectors, ten best, 64 of 4,096 lists: .944 by means, .927
by vectors. So means stay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import Groups, closest, grouped
from .rows import Rows
from .space import Space
from .threads import Done, followed, untold

_FAN = 32
_SAMPLE = 96
"""Vectors a centroid is learnt from."""
_ITERATIONS = 8
_BALANCE = 0.03
"""How much a cluster of twice the mean size counts against itself, in mean squared distances."""
BLOCK = 2048
_HELD_BYTES = 32 << 20
"""Vectors of a part that takes less are read once for all its parts."""
_GROUPED = 1024
"""Fewer centroids are all compared."""


class Centroids(NamedTuple):
    """m centroids rounded to 8 bits: ``codes`` (m, width) int8 times ``scales`` (m,)."""

    codes: NDArray[np.int8]
    scales: Float32Array

    def points(self) -> Float32Array:
        """(m, width) float32."""
        return self.codes.astype(np.float32) * self.scales[:, None]


def rounded(points: Float32Array) -> Centroids:
    """Points as they are kept."""
    scales = np.abs(points).max(axis=1, initial=0.0) / np.float32(127.0)
    scales[scales == 0.0] = 1.0
    return Centroids(np.rint(points / scales[:, None]).astype(np.int8), scales.astype(np.float32))


def centroids_of(
    vectors: Rows, space: Space, places: Int64Array, size: int, done: Done, seed: int = 0
) -> Float32Array:
    """Means of clusters of ``size`` vectors or a little more: (m, width) float32, not rounded.

    A rotation moves no vector to another cluster: the means alone are rotated.
    """
    points_at = partial(space.placed, vectors)
    held = _HELD_BYTES // (4 * space.width)
    random = np.random.Generator(np.random.Philox(seed))
    parts = [places]
    if len(places) > max(size, held):
        parts = parts_of(points_at, places, min(-(-len(places) // size), _FAN), random)

    def below(part: tuple[Int64Array, np.random.Generator], done: Done) -> list[Float32Array]:
        own, random = part
        return _means(points_at, own, size, held, random, done)

    found = followed(below, zip(parts, random.spawn(len(parts)), strict=True), done)
    return space.turned(np.stack([mean for means in found for mean in means]))


def _means(
    points_at: Callable[[Int64Array], Float32Array],
    places: Int64Array,
    size: int,
    held: int,
    random: np.random.Generator,
    done: Done,
) -> list[Float32Array]:
    """Those of one part's parts; where it has at most ``held`` vectors, these are read once."""
    k = min(-(-len(places) // size), _FAN)
    if k <= 1:
        done(len(places))
        return [points_at(places).mean(axis=0, dtype=np.float64).astype(np.float32)]
    if len(places) <= held:
        points, every = points_at(places), np.arange(len(places))
        means = _means(points.__getitem__, every, size, 0, random, untold)
        done(len(places))
        return means
    parts = parts_of(points_at, places, k, random)
    return [mean for part in parts for mean in _means(points_at, part, size, held, random, done)]


def groups_of(points: Float32Array) -> tuple[NDArray[np.int32], Groups] | None:
    """The centroids' own clusters, for searches; None of a few centroids. ``points`` (m, width).

    And the order (m,) of the centroids, cluster after cluster, in which they are to be numbered:
    what a query is compared with then lies in a few stretches of memory.
    """
    if len(points) < _GROUPED:
        return None
    means, order, starts = own_clusters(points)
    return order, grouped(*rounded(means), starts.astype(np.int32))


def own_clusters(points: Float32Array) -> tuple[Float32Array, NDArray[np.int32], Int64Array]:
    """Clusters of points (m, width), about as many as each has points: g means (g, width).

    And the points' numbers (m,), cluster after cluster, from each cluster's start (g + 1,).
    """
    random = np.random.Generator(np.random.Philox(len(points)))
    every = np.arange(len(points))
    parts = parts_of(lambda places: points[places], every, round(len(points) ** 0.5), random)
    means = np.stack([points[part].mean(axis=0) for part in parts])
    return means, np.concatenate(parts).astype(np.int32), np.cumsum([0, *map(len, parts)])


def parts_of(
    points_at: Callable[[Int64Array], Float32Array],
    places: Int64Array,
    k: int,
    random: np.random.Generator,
) -> list[Int64Array]:
    """Places in up to k parts, by their points: at least two, none empty."""
    sample = places
    if len(places) > k * _SAMPLE:
        sample = np.sort(random.choice(places, k * _SAMPLE, replace=False))
    points = points_at(sample)
    centroids = points[random.choice(len(points), k, replace=False)]
    shares = np.full(k, 1.0 / k)
    penalty = np.float32(0.0)
    for _ in range(_ITERATIONS):
        owners, distances = _owners(points, centroids, shares, penalty)
        counts = np.bincount(owners, minlength=k)
        alive = counts > 0
        centroids[alive] = means_by_owner(points, owners, counts)
        # An empty cluster takes a point of the largest.
        for number in np.flatnonzero(~alive):
            centroids[number] = points[random.choice(np.flatnonzero(owners == counts.argmax()))]
        shares = counts / len(points)
        penalty = np.float32(_BALANCE * max(float(distances.mean()), 0.0))
    owners = np.concatenate(
        [
            _owners(points_at(places[first : first + BLOCK]), centroids, shares, penalty)[0]
            for first in range(0, len(places), BLOCK)
        ]
    )
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=k))
    parts = [part for part in np.split(places[order], ends[:-1]) if len(part)]
    if len(parts) == 1 or max(map(len, parts)) > 0.9 * len(places):
        return [part for part in np.array_split(places, k) if len(part)]
    return parts


def means_by_owner(
    points: Float32Array, owners: NDArray[np.int32], counts: Int64Array
) -> Float32Array:
    """The mean of each owner's points, of those that own some."""
    order = np.argsort(owners, kind="stable")
    alive = counts > 0
    starts = (np.cumsum(counts) - counts)[alive]
    means: Float32Array = np.add.reduceat(points[order], starts, axis=0)
    means /= counts[alive, None].astype(np.float32)
    return means


def _owners(
    points: Float32Array, centroids: Float32Array, shares: NDArray[np.float64], penalty: np.float32
) -> tuple[NDArray[np.int32], Float32Array]:
    """The nearest centroid of each point, sizes counted in, and the squared distances."""
    squares = np.einsum("md,md->m", centroids, centroids)
    more = squares + penalty * (shares * len(centroids)).astype(np.float32)
    owners, distances = closest(points @ centroids.T, more, 1)
    return owners[:, 0], distances[:, 0] + np.einsum("nd,nd->n", points, points)
