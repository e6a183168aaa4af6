"""Lists kept in balance: the rules of SPFresh (Xu et al., SOSP 2023, section 3).

A list of more than ``limit`` vectors is split in two; one of less than ``least`` is dissolved. A
split moves the borders around it, and only there are vectors looked at again:

1. one of the split list, if it was nearer to the old centroid than to either of the new ones;
2. one of a list near by, if a new centroid is nearer to it than the old one was.

These, and the vectors of dissolved lists, are assigned anew among all lists. Each split adds a list
of more than ``limit / 2`` vectors, or marks a list as one that no split helps (identical vectors),
so it ends; ``_ROUNDS`` rounds bound it besides. Beside the vectors that are new, a merge assigns
only these: a split looks at ``_NEAR + 1`` lists, so at ``limit (_NEAR + 1)`` vectors, and inserts
cause at most one split for each ``limit / 2`` of them.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array, Int64Array
from .closure import assign
from .clustering import BLOCK, parts_of, rounded
from .rows import Rows
from .settings import Spann
from .space import Space
from .threads import Done, untold

_NEAR = 16
_ROUNDS = 16
_TOO_LONG = 4
"""A list is split when it has so many times the vectors a list should have."""
_TOO_SHORT = 8
"""A list is dissolved when it has so many times fewer."""


class Partition(NamedTuple):
    """Centroids (m, width) float32, as they are kept, and which lists each vector stands in.

    ``lists`` (n, replicas): numbers of lists, the home first, -1 for none.
    """

    centroids: Float32Array
    lists: NDArray[np.int32]

    def renumbered(self, order: NDArray[np.int32]) -> Partition:
        """These lists, of which list i was ``order[i]``; ``lists`` is changed in place."""
        numbers = np.full(len(order) + 1, -1, np.int32)
        numbers[order] = np.arange(len(order))
        for first in range(0, len(self.lists), BLOCK):
            block = self.lists[first : first + BLOCK]
            block[...] = numbers[block]  # the last is that of -1
        return Partition(self.centroids[order], self.lists)


class Counts(NamedTuple):
    """What a round did, for the summary."""

    splits: int
    dissolved: int
    reassigned: int


def rebalanced(
    vectors: Rows,
    space: Space,
    partition: Partition,
    dirty: BoolArray,
    settings: Spann,
    done: Done = untold,
) -> tuple[Partition, Counts]:
    """The partition in balance. ``dirty`` (n,): vectors to assign first; their lists are ignored.

    ``partition.lists`` is changed in place. ``done`` is told of each row once, however often it is
    assigned.
    """
    centroids, lists = partition
    limit = _TOO_LONG * settings.posting
    least = -(-settings.posting // _TOO_SHORT)
    random = np.random.Generator(np.random.Philox(len(vectors)))
    hopeless = np.zeros(len(centroids), np.bool_)
    splits = dissolved = reassigned = 0
    done(int(np.count_nonzero(~dirty)))
    for _ in range(_ROUNDS):
        places = np.flatnonzero(dirty)
        assign(vectors, space, places, centroids, settings.eps1, lists, done)
        done = untold
        reassigned += len(places)
        dirty[:] = False
        counts = np.bincount(lists[:, 0], minlength=len(centroids))
        long = np.flatnonzero((counts > limit) & ~hopeless)
        short = np.flatnonzero(counts < least)
        if len(short) >= len(centroids) - len(long):
            short = short[:0]
        if not len(long) and not len(short):
            break
        order = np.argsort(lists[:, 0], kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)])
        added: list[Float32Array] = []
        changed = np.zeros(len(centroids) + len(long), np.bool_)
        for number in long.tolist():
            members = order[starts[number] : starts[number + 1]]
            pair = _halves(vectors, space, members, random)
            if pair is None:
                hopeless[number] = True
                continue
            fresh = len(centroids) + len(added)
            near = _nearest(centroids, number)
            _look(vectors, space, members, centroids[number], pair, lists, (number, fresh), dirty)
            for other in near.tolist():
                around = order[starts[other] : starts[other + 1]]
                _look(vectors, space, around, centroids[number], pair, lists, None, dirty)
            added.append(pair[1])
            centroids[number] = pair[0]
            changed[number] = changed[fresh] = True
            splits += 1
        if added:
            centroids = np.concatenate([centroids, np.array(added)])
            hopeless = np.concatenate([hopeless, np.zeros(len(added), np.bool_)])
        dead = np.zeros(len(centroids), np.bool_)
        dead[short] = True
        dissolved += len(short)
        dirty |= dead[lists[:, 0]]
        _forget(lists, (changed[: len(centroids)] | dead), dead)
        centroids, hopeless = centroids[~dead], hopeless[~dead]
    if dirty.any():  # the rounds are over
        assign(vectors, space, np.flatnonzero(dirty), centroids, settings.eps1, lists)
    return Partition(centroids, lists), Counts(splits, dissolved, reassigned)


def _halves(
    vectors: Rows, space: Space, members: Int64Array, random: np.random.Generator
) -> Float32Array | None:
    """Two centroids for one list, (2, width), as they are kept; None where they are one."""
    parts = parts_of(partial(space.of_vectors, vectors), members, 2, random)
    pair = rounded(np.array([_mean(vectors, space, part) for part in parts])).points()
    return None if np.array_equal(pair[0], pair[1]) else pair


def _mean(vectors: Rows, space: Space, places: Int64Array) -> Float32Array:
    """In float64, so that equal vectors have the same mean, however many there are."""
    sums = [points.sum(axis=0, dtype=np.float64) for _, points in space.in_blocks(vectors, places)]
    mean: Float32Array = (np.sum(sums, axis=0) / len(places)).astype(np.float32)
    return mean


def _nearest(centroids: Float32Array, number: int) -> Int64Array:
    apart = np.einsum("md,md->m", centroids, centroids) - 2 * centroids @ centroids[number]
    apart[number] = np.inf
    count = min(_NEAR, len(centroids) - 1)
    return np.argpartition(apart, count - 1)[:count] if count else np.zeros(0, np.int64)


def _look(
    vectors: Rows,
    space: Space,
    members: Int64Array,
    old: Float32Array,
    pair: Float32Array,
    lists: NDArray[np.int32],
    own: tuple[int, int] | None,
    dirty: BoolArray,
) -> None:
    """Mark what has to be assigned anew; ``own``: the two lists' numbers, for the split one's."""
    for block, points in space.in_blocks(vectors, members):
        places = members[block]
        to_old = ((points - old) ** 2).sum(axis=1)
        to_new = np.stack([((points - one) ** 2).sum(axis=1) for one in pair], axis=1)
        nearer = to_new.min(axis=1)
        if own is None:
            dirty[places[nearer <= to_old]] = True
        else:
            lists[places, 0] = np.array(own, np.int32)[to_new.argmin(axis=1)]
            dirty[places[to_old <= nearer]] = True


def _forget(lists: NDArray[np.int32], changed: BoolArray, dead: BoolArray) -> None:
    """Take copies out of lists that changed, and number the lists that are left."""
    numbers = np.cumsum(~dead) - 1
    numbers[dead] = -1
    for column in range(lists.shape[1]):
        held = lists[:, column]
        there = held >= 0
        gone = np.zeros(len(held), np.bool_)
        gone[there] = dead[held[there]] if column == 0 else changed[held[there]]
        held[there] = numbers[held[there]]
        if column:
            held[gone] = -1
