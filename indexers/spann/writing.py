"""The arrays of a segment's lists.

``spann_centroids`` (m, width) int8 with ``spann_scales`` (m,) float32; ``spann_counts`` (m,) int32,
``spann_offsets`` (m,) int64 into ``spann_postings`` uint8: a record of codes each, which begins a
page of the file where it would else touch one page more than it must. ``spann_homes`` (n,) int32:
the list of each row; ``spann_copies`` (c, 2) int32: rows that stand in a further list, and that
list. ``spann_slots`` (n,) int32: where in ``vectors`` the vector of a row lies (:mod:`.ordering`).
Where there are groups of lists, ``spann_group_centroids`` (g, width) int8 with
``spann_group_scales`` (g,) float32, and ``spann_group_starts`` (g + 1,) int32: the first list of
each. ``spann_heat`` (m,) float32: how often samples read a list; it is written by who measures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import ArraySink, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...errors import CormorantError
from ...kernels.lists import Lists, members, opened
from ...kernels.rabitq import MAX_BITS, encode, record_bytes, sections
from .closure import assign
from .clustering import BLOCK, Centroids, centroids_of, groups_of, rounded
from .maintaining import Counts, Partition, rebalanced
from .rows import Rows
from .settings import Spann
from .space import SEED, Space
from .stages import Stages
from .threads import Done, followed, in_runs

PAGE = 4096
_RUN = 4096
"""Codes that are made in a row by one thread, or a few more."""
_LONGEST = 6
"""Copies are cut off a list beyond so many times the vectors a list should have."""
GROUPED = ("centroids", "scales", "starts")
"""What is written of groups."""
_TABLE_BYTES = 40
"""Of each list, in memory, beside its centroid."""
_SLOT_BYTES = 4
"""Of each vector, in memory: where it lies in its file."""
_ROOM = 0.97
"""Of the memory allowed; the rest is for small tables."""


class Members(NamedTuple):
    """Vectors list after list: (c,) places, and how many each list has: (m,).

    ``copies``: as in ``spann_copies``.
    """

    places: NDArray[np.int32]
    counts: Int64Array
    copies: NDArray[np.int32]


class Begun(NamedTuple):
    """Lists in which the ``dirty`` (n,) vectors have no place yet.

    ``changed``: how many came or went since they were made from nothing.
    """

    partition: Partition
    dirty: BoolArray
    changed: int


class Written(NamedTuple):
    """Lists, where vectors stand in them, a typical distance from a centroid, and the summary."""

    lists: Lists
    homes: NDArray[np.int32]
    copies: NDArray[np.int32]
    radius: float
    facts: JsonObject


def fresh(vectors: Rows, space: Space, settings: Spann, stages: Stages) -> Partition:
    """Clusters from nothing: hierarchical, then one pass over all vectors to mend the borders."""
    kept = stages.kept("centroids")
    if kept is None:
        kept = {"centroids": _centroids(vectors, space, settings, stages)}
        stages.keep("centroids", kept)
    lists = np.full((len(vectors), settings.replicas), -1, np.int32)
    return Partition(np.array(kept["centroids"]), lists)


def _centroids(vectors: Rows, space: Space, settings: Spann, stages: Stages) -> Float32Array:
    n = len(vectors)
    means = centroids_of(vectors, space, np.arange(n), settings.posting, stages.of("clustered"))
    points = rounded(means).points()
    homes = np.full((n, 1), -1, np.int32)
    assign(vectors, space, np.arange(n), points, 0.0, homes, stages.of("centred"))
    counts = np.bincount(homes[:, 0], minlength=len(points))
    alive = counts > 0
    found = space.turned(_sums(vectors, space, homes[:, 0], len(points))[alive])
    found /= counts[alive, None].astype(np.float32)
    return rounded(found).points()


def _sums(vectors: Rows, space: Space, homes: NDArray[np.int32], m: int) -> Float32Array:
    """Of each list's vectors, not rotated yet: (m, numbers)."""
    order = np.argsort(homes, kind="stable")
    sums = np.zeros((m, space.placed(vectors, order[:1]).shape[1]), np.float32)
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        own = homes[block]
        starts = np.flatnonzero(np.diff(own, prepend=-1))
        sums[own[starts]] += np.add.reduceat(space.placed(vectors, block), starts, axis=0)
    return sums


def write(
    vectors: Rows,
    space: Space,
    settings: Spann,
    sink: ArraySink,
    stages: Stages,
    begun: Callable[[], Begun | None],
) -> Written:
    """Write the lists.

    ``begun``: gives lists to go on with.
    """
    partition, made, changed = _balanced(vectors, space, settings, stages, begun)
    groups = None
    if (grouping := groups_of(partition.centroids)) is not None:
        order, groups = grouping
        partition = partition.renumbered(order)
    centroids = rounded(partition.centroids)
    points = centroids.points()

    def apart(places: NDArray[np.int32], number: int) -> Float32Array:
        squares = np.empty(len(places), np.float32)
        for block, residuals in space.in_blocks(vectors, places):
            residuals -= points[number]
            np.einsum("nd,nd->n", residuals, residuals, out=squares[block])
        return squares

    standing = _members(partition.lists, len(points), _LONGEST * settings.posting, apart)
    bits = settings.bits or _most_bits(vectors, space, settings, standing)
    counts, homes, copies = standing.counts, partition.lists[:, 0].copy(), standing.copies
    del partition
    sink.put("spann_centroids", centroids.codes)
    sink.put("spann_scales", centroids.scales)
    sink.put("spann_counts", counts.astype(np.int32))
    for name in GROUPED if groups is not None else ():
        sink.put(f"spann_group_{name}", getattr(groups, name))
    sink.put("spann_homes", homes)
    sink.put("spann_copies", copies)
    sizes = np.array([record_bytes(count, space.width, bits) for count in counts.tolist()])
    offsets, total = _laid_out(sizes)
    postings = sink.create("spann_postings", np.uint8, (total + PAGE,))
    offsets += -postings.ctypes.data % PAGE
    sink.put("spann_offsets", offsets)
    ends = np.cumsum(counts)
    at_home = np.bincount(homes, minlength=len(points))

    def encode_list(number: int) -> None:
        places = standing.places[ends[number] - counts[number] : ends[number]]
        record = postings[offsets[number] : offsets[number] + sizes[number]]
        fill(record, vectors, space, places, points[number], bits)

    def encode_run(numbers: Int64Array, done: Done) -> None:
        for number in numbers[counts[numbers] > 0].tolist():
            encode_list(number)
        done(int(at_home[numbers].sum()))

    followed(encode_run, in_runs(counts, _RUN), stages.of("listed"))
    lists = opened(*centroids, counts.astype(np.int32), offsets, postings, bits, groups)
    radius = _radius(vectors, space, points, homes)
    facts = {
        "lists": len(points),
        "groups": 0 if groups is None else len(groups.scales),
        "bits": bits,
        "codes": int(counts.sum()),
        "bound": space.bound,
        "seed": SEED,
        "radius": radius,
        "splits": made.splits,
        "dissolved": made.dissolved,
        "reassigned": made.reassigned,
        "changed": changed,
    }
    return Written(lists, homes, copies, radius, facts)


def _balanced(
    vectors: Rows,
    space: Space,
    settings: Spann,
    stages: Stages,
    begun: Callable[[], Begun | None],
) -> tuple[Partition, Counts, int]:
    """Lists in balance, what was done for it, and ``Begun.changed``; or those that were kept."""
    kept = stages.kept("partition")
    if kept is not None:
        *counts, changed = kept["counts"].tolist()
        partition = Partition(np.array(kept["centroids"]), np.array(kept["lists"]))
        return partition, Counts(*counts), changed
    old = begun()
    if old is None:
        made = fresh(vectors, space, settings, stages)
        old = Begun(made, np.ones(len(vectors), np.bool_), 0)
    partition, done = rebalanced(
        vectors, space, old.partition, old.dirty, settings, stages.of("assigned")
    )
    counts = np.array([*done, old.changed], np.int64)
    stages.keep("partition", {**partition._asdict(), "counts": counts})
    return partition, done, old.changed


def fill(
    record: NDArray[np.uint8],
    vectors: Rows,
    space: Space,
    places: NDArray[np.integer[Any]],
    point: Float32Array,
    bits: int,
) -> None:
    """Fill the record of the list of a centroid, ``point`` (width,), with the codes of places."""
    if not len(places):
        return
    heads, codes = sections(record, len(places))
    heads[0] = places
    for block, residuals in space.in_blocks(vectors, places):
        residuals -= point
        own = np.empty(record_bytes(len(residuals), space.width, bits), np.uint8)
        encode(residuals, bits, own)
        own_heads, own_codes = sections(own, len(residuals))
        heads[1:, block], codes[block] = own_heads[1:], own_codes


def memory_bytes(settings: Spann, vectors: Rows) -> int:
    """What a segment may keep in memory."""
    return int(settings.memory * vectors.nbytes)


def _members(
    lists: NDArray[np.int32],
    m: int,
    longest: int,
    apart: Callable[[NDArray[np.int32], int], Float32Array],
) -> Members:
    """Who is in which list, homes first, and of copies the nearest that there is room for.

    ``apart``: how far places are from a list's centroid, squared.
    """
    if (lists[:, 0] < 0).any():
        raise CormorantError(f"{np.count_nonzero(lists[:, 0] < 0):,} vectors are in no list")
    counts, places = members(lists, m)
    homes = np.bincount(lists[:, 0], minlength=m)
    stays = np.ones(len(places), np.bool_)
    ends = np.cumsum(counts)
    for number in np.flatnonzero((counts > longest) & (counts > homes)).tolist():
        first = ends[number] - counts[number] + homes[number]
        far = np.argsort(apart(places[first : ends[number]], number), kind="stable")
        stays[first + far[max(longest - homes[number], 0) :]] = False
    numbers = np.repeat(np.arange(m, dtype=np.int32), counts)[stays]
    places = places[stays]
    second = lists[places, 0] != numbers
    copies = np.stack([places[second], numbers[second]], axis=1)
    return Members(places, np.bincount(numbers, minlength=m), copies)


def _most_bits(vectors: Rows, space: Space, settings: Spann, standing: Members) -> int:
    """The finest codes that memory has room for; where it has none, one bit: least to read."""
    codes, lists = len(standing.places), len(standing.counts)
    fitting = [
        bits
        for bits in range(1, MAX_BITS + 1)
        if share_on_disk(vectors, space, settings, lists, codes, bits) == 0.0
    ]
    return max(fitting, default=1)


def share_on_disk(
    vectors: Rows, space: Space, settings: Spann, lists: int, codes: int, bits: int
) -> float:
    """How much of the codes memory has no room for."""
    room = _ROOM * memory_bytes(settings, vectors)
    room -= lists * (space.width + _TABLE_BYTES) + _SLOT_BYTES * len(vectors)
    return max(1.0 - room / record_bytes(max(codes, 1), space.width, bits), 0.0)


def _laid_out(sizes: Int64Array) -> tuple[Int64Array, int]:
    """Where records begin, and the end: none touches more pages than its size needs."""
    offsets = np.zeros(len(sizes), np.int64)
    end = 0
    for number, size in enumerate(sizes.tolist()):
        needed = -(-size // PAGE)
        if size and (end + size - 1) // PAGE - end // PAGE + 1 > needed:
            end = -(-end // PAGE) * PAGE
        offsets[number] = end
        end += size
    return offsets, end


def _radius(vectors: Rows, space: Space, points: Float32Array, homes: NDArray[np.int32]) -> float:
    """The mean distance of a vector from its home's centroid, of some."""
    some = np.arange(0, len(vectors), max(1, len(vectors) // BLOCK))
    apart = space.of_vectors(vectors, some) - points[homes[some]]
    return float(np.sqrt(np.einsum("nd,nd->n", apart, apart)).mean())


def centroids_read(codes: NDArray[np.int8], scales: Float32Array) -> Float32Array:
    """Centroids of a segment, as points."""
    return Centroids(np.array(codes), np.array(scales)).points()
