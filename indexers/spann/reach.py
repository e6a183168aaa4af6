"""Where the lists of several shards lie, so that only shards with likely lists need be asked.

SPANN on many machines: a query goes only to those that hold lists which it would read. A shard
gives away its centroids (:class:`Reach`); whoever holds those of all shards (:class:`Pool`) applies
the index's own rule to all lists together: ``eps2`` on true distance, and as many lists as all
shards together would read, the nearest ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Allowed, Array, BoolArray, Float32Array
from ...kernels.lists import Rule, choose, opened
from .segment import SpannSegment
from .settings import Spann
from .space import Space
from .tuning import DEPTHS, effort_for

_TABLE_BYTES = 36
"""Of each list, beside its centroid."""


class Reach(NamedTuple):
    """The m lists of one shard that hold live vectors, without their codes.

    ``centroids`` (m, width) int8 times ``scales`` (m,) float32; ``counts`` (m,) int32 live vectors;
    ``rules``: for each of ``DEPTHS`` how far its segments go, together.
    """

    space: Space
    centroids: NDArray[np.int8]
    scales: Float32Array
    counts: NDArray[np.int32]
    rules: tuple[Rule, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, in a :class:`Pool`."""
        return self.centroids.nbytes + _TABLE_BYTES * len(self.counts)


def bytes_of(segments: Sequence[SpannSegment]) -> int | None:
    """What the centroids of a shard take, with their tables; None where rows stand in no list."""
    total = 0
    for segment in segments:
        if segment.lists is not None:
            total += segment.lists.centroids.nbytes + _TABLE_BYTES * len(segment.lists.counts)
        elif len(segment.rows):
            return None
    return total or None


def reach_of(segments: Sequence[SpannSegment], allowed: Allowed, settings: Spann) -> Reach | None:
    """None where rows stand in no list, or in lists whose distances cannot be compared."""
    own = [segment for segment in segments if len(segment.rows)]
    if bytes_of(own) is None or len({_comparable(segment.space) for segment in own}) > 1:
        return None
    parts: list[tuple[Array, ...]] = []
    for segment in own:
        lists, passing = segment.lists, segment.passing(allowed)
        assert lists is not None
        counts = lists.counts if passing.mask is None else segment.view(passing).counts
        there = counts > 0
        parts.append((lists.centroids[there], lists.scales[there], counts[there]))
    centroids, scales, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    facts = [segment.summary["spann"] for segment in own]
    radius = max(each["radius"] for each in facts)
    rules = []
    for depth in DEPTHS:
        efforts = [effort_for(each, depth, settings) for each in facts]
        most = sum(effort.most for effort in efforts)
        rules.append(Rule(max(effort.eps2 for effort in efforts), radius, most, depth))
    return Reach(_comparable(own[0].space), centroids, scales, counts, tuple(rules))


class Pool:
    """The lists of several shards as one set of lists."""

    def __init__(self, parts: Mapping[int, Reach]) -> None:
        reaches = list(parts.values())
        centroids, scales, counts = (
            np.concatenate([reach[field] for reach in reaches]) for field in (1, 2, 3)
        )
        ends = np.cumsum([len(reach.counts) for reach in reaches]).tolist()
        self.parts = {
            shard: reach._replace(
                centroids=centroids[end - len(reach.counts) : end],
                scales=scales[end - len(reach.counts) : end],
                counts=counts[end - len(reach.counts) : end],
            )
            for (shard, reach), end in zip(parts.items(), ends, strict=True)
        }
        self._owners = np.repeat(np.arange(len(reaches)), [len(each.counts) for each in reaches])
        nothing = np.zeros(0, np.uint8)
        nothing.flags.writeable = False  # as a segment's file: the kernel is compiled for it
        offsets = np.zeros(len(counts), np.int64)
        self._lists = opened(centroids, scales, counts, offsets, nothing, 1)
        self._comparable = len({reach.space for reach in reaches}) == 1

    def likely(self, queries: Float32Array, k: int) -> dict[int, BoolArray]:
        """By shard which queries (n, dim) it holds likely lists for: (n,) bool."""
        reaches = list(self.parts.values())
        found = np.ones((len(queries), len(reaches)), np.bool_)
        if self._comparable and len(self._owners):
            deep = int(k > DEPTHS[0])
            eps2, radius, most, _ = zip(*(reach.rules[deep] for reach in reaches), strict=True)
            deeper = max(1.0, k / DEPTHS[-1])
            rule = Rule(max(eps2) * deeper, max(radius), int(sum(most) * deeper), k)
            space = reaches[0].space
            every = np.zeros(0, np.int32)
            found[:] = False
            for number, query in enumerate(space.of_queries(queries, space.signs())):
                found[number, self._owners[choose(self._lists, query, rule, every)]] = True
        return dict(zip(self.parts, found.T, strict=True))


def _comparable(space: Space) -> Space:
    """The space, without what does not bear on distances in it."""
    return space if space.similarity == "dot" else space._replace(bound=0.0)
