"""Samples of a segment's own vectors, asked as queries, and where their true neighbours stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import Lists, distances
from .clustering import BLOCK
from .nearest import nearest_of
from .rows import Rows
from .space import Space
from .threads import Done, followed, threads, workers

T = TypeVar("T")


class Samples(NamedTuple):
    """Queries (n, width), their own places (n,), their neighbours (n, depth), nearest first."""

    queries: Float32Array
    places: Int64Array
    true: Int64Array


class Walk(NamedTuple):
    """One sample's way through all lists, nearest first: distances, and the codes up to each (m,).

    ``ranks``: at which of these each true neighbour is met first.
    """

    distances: Float32Array
    codes: Int64Array
    ranks: Int64Array


def distinct(vectors: Rows, places: Int64Array) -> Int64Array:
    """The places, in their order, less those whose vector an earlier one has."""
    first = np.unique(np.ascontiguousarray(vectors[places]), axis=0, return_index=True)[1]
    return places[np.sort(first)]


def sampled(vectors: Rows, space: Space, places: Int64Array, depth: int, done: Done) -> Samples:
    """Some vectors as queries, with their exact neighbours among all others."""
    queries = space.of_queries(vectors[places], space.signs())
    return Samples(queries, places, _neighbours(vectors, space, queries, places, depth, done))


def walked(
    lists: Lists,
    samples: Samples,
    homes: NDArray[np.int32],
    copies: NDArray[np.int32],
    seen: Callable[[Walk], T],
) -> list[T]:
    """What is seen on each sample's walk. A walk takes 24 bytes a list: none is kept."""
    extra: dict[int, list[int]] = {}
    for place, number in copies[np.isin(copies[:, 0], samples.true)].tolist():
        extra.setdefault(place, []).append(number)

    def one(sample: int) -> T:
        apart = distances(lists, samples.queries[sample])
        order = np.argsort(apart, kind="stable").astype(np.int32)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        true = samples.true[sample].tolist()
        ranks = [min(rank[[homes[place], *extra.get(place, ())]]) for place in true]
        codes = np.cumsum(lists.counts[order], dtype=np.int64)
        return seen(Walk(apart[order], codes, np.array(ranks, np.int64)))

    with workers() as pool:
        return list(pool.map(one, range(len(samples.queries))))


def _neighbours(
    vectors: Rows,
    space: Space,
    queries: Float32Array,
    sample: Int64Array,
    depth: int,
    done: Done,
) -> Int64Array:
    """The nearest places of each sample but itself, (n_samples, depth), nearest first."""

    def within(firsts: Int64Array, done: Done) -> tuple[NDArray[np.int32], Float32Array]:
        def blocks() -> Iterator[Float32Array]:
            for first in firsts.tolist():
                block = space.of_vectors(vectors, slice(first, first + BLOCK))
                yield block
                done(len(block))

        return nearest_of(queries, blocks(), depth + 1, int(firsts[0]))

    parts = np.array_split(np.arange(0, len(vectors), BLOCK), threads())
    found = followed(within, [part for part in parts if len(part)], done)
    apart = np.concatenate([distances for _, distances in found], axis=1)
    order = np.argsort(apart, axis=1, kind="stable")[:, : depth + 1]
    places = np.take_along_axis(np.concatenate([ids for ids, _ in found], axis=1), order, axis=1)
    others = [row[row != own][:depth] for row, own in zip(places, sample, strict=True)]
    return np.array(others, np.int64).reshape(len(queries), depth)
