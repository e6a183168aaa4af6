"""From the sums of a block to hits: which documents get their true score, and the heap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..bm25 import heaps
from ..bm25.lanes import count_ones, lowest_one, prefetch
from . import lanes
from .layout import LANES, Effort, Float32Array, Int64Array, UInt8Array
from .room import AT_ONCE, GATHERED, PEAK_GROUPS, Room
from .scoring import View, shared

HIGHEST = 255
"""What a sum ends at."""
HALVINGS = 10
MARGIN = 1e-6
"""Relative, between a bound and a score: more than the rounding of either."""
SMALLEST = 1.5e-45
"""And absolute: float32's smallest step, which is all that scores below 1e-38 are rounded to."""


class Hits(NamedTuple):
    """Pointers to a query's heap, and how many it is to hold."""

    scores: Float32Array
    rows: Int64Array
    k: int


class Block(NamedTuple):
    """Some documents whose sums are there."""

    start: int
    n_here: int
    scale: float
    """Steps of a sum that a score of 1 is."""
    left_out: float
    """What a sum can lack."""
    seen: float
    """The share of the documents that the heap will be of."""


@njit(nogil=True, cache=True)
def collect(
    view: View, room: Room, n: int, effort: Effort, block: Block, hits: Hits, size: int
) -> int:
    """Score the documents whose sums could make them hits, and make the sums 0 again.

    Returns the heap's size. Once the heap is full the bar only rises, and one pass is enough.
    """
    sums, n_groups = room.sums, (block.n_here + AT_ONCE - 1) // AT_ONCE
    nothing = lanes.splat(np.uint8(0))
    bar, is_full = bar_of(hits, size, effort, block), size == hits.k
    floor, ceiling = bar, HIGHEST + 1
    if not is_full:
        note_peaks(sums, n_groups, room.peaks)
        floor = max(floor, guess_bar(room.peaks, n_groups, hits.k))
    while True:
        least, n_near = lanes.splat(np.uint8(floor)), 0
        for first in range(0, n_groups * AT_ONCE, AT_ONCE):
            if lanes.at_least(largest_of_four(sums, first), least):
                for start in range(first, first + AT_ONCE, LANES):
                    found = lanes.at_least(lanes.load(sums, start), least)
                    while found:
                        lane = start + lowest_one(found)
                        found &= found - np.uint64(1)
                        total = np.int64(sums[lane])
                        if total < floor or total >= ceiling:
                            continue
                        prefetch(view.starts, block.start + lane)
                        prefetch(view.rows, block.start + lane)
                        room.near[n_near] = block.start + lane
                        n_near += 1
                        if n_near == GATHERED:
                            size = settle(view, room, n, n_near, hits, size)
                            n_near = 0
                            bar = bar_of(hits, size, effort, block)
                            if bar > floor:
                                floor = bar
                                least = lanes.splat(np.uint8(floor))
            if is_full:
                for start in range(first, first + AT_ONCE, LANES):
                    lanes.store(sums, start, nothing)
        size = settle(view, room, n, n_near, hits, size)
        bar = bar_of(hits, size, effort, block)
        if is_full:
            return size
        if floor <= bar:
            break
        ceiling, floor = floor, bar
    for start in range(0, n_groups * AT_ONCE, LANES):
        lanes.store(sums, start, nothing)
    return size


@njit(forceinline=True)
def largest_of_four(sums: UInt8Array, first: int) -> Any:
    """Of each four sums, ``LANES`` apart, the largest."""
    left = lanes.larger(lanes.load(sums, first), lanes.load(sums, first + LANES))
    right = lanes.larger(lanes.load(sums, first + 2 * LANES), lanes.load(sums, first + 3 * LANES))
    return lanes.larger(left, right)


@njit(forceinline=True)
def bar_of(hits: Hits, size: int, effort: Effort, block: Block) -> int:
    """The sum without which no document is scored; at least 1, which says that it shares a term."""
    exact = effort.bar == 0.0
    least = score_to_beat(hits, size, block.seen, exact) * (1.0 - MARGIN) - SMALLEST
    least = least - block.left_out if exact else least * effort.bar
    return np.int64(min(float(HIGHEST), max(1.0, least * block.scale)))


@njit(nogil=True, cache=True)
def score_to_beat(hits: Hits, size: int, seen: float, exact: bool) -> float:
    """The k-th best score so far; or, unless it is to be exact, that which is to be expected.

    ``seen``: the share of the documents that the heap is of. 0: nothing is known.
    """
    scores, k = hits.scores, hits.k
    rank = k if exact else min(k, 1 + int(np.ceil(k * seen)))
    if size < rank:
        return 0.0
    low = high = np.float64(scores[0])
    if rank == k:
        return low
    for i in range(size):
        high = max(high, np.float64(scores[i]))
    for _ in range(HALVINGS):
        middle, n = 0.5 * (low + high), 0
        for i in range(size):
            n += np.float64(scores[i]) >= middle
        if n >= rank:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def note_peaks(sums: UInt8Array, n_groups: int, peaks: UInt8Array) -> None:
    """The largest of every 32 sums, lane by lane."""
    for first in range(0, n_groups, PEAK_GROUPS):
        peak = lanes.splat(np.uint8(0))
        for group in range(first, min(n_groups, first + PEAK_GROUPS)):
            peak = lanes.larger(peak, largest_of_four(sums, AT_ONCE * group))
        lanes.store(peaks, first // PEAK_GROUPS * LANES, peak)


@njit(nogil=True, cache=True)
def guess_bar(peaks: UInt8Array, n_groups: int, k: int) -> int:
    """A bar that k peaks reach, close below the k-th largest; 1 where there are not so many."""
    low, high = 1, HIGHEST + 1
    for _ in range(HALVINGS):
        middle = (low + high) >> 1
        least, n = lanes.splat(np.uint8(middle)), 0
        for first in range(0, n_groups, PEAK_GROUPS):
            peak = lanes.load(peaks, first // PEAK_GROUPS * LANES)
            n += count_ones(lanes.at_least(peak, least))
        if n >= k:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def settle(view: View, room: Room, n: int, n_near: int, hits: Hits, size: int) -> int:
    """Score the documents that came near and push them; returns the size of the heap.

    Each step asks memory for what the next one needs of all of them.
    """
    near, places, ends = room.near, room.shared, room.shared_ends
    for i in range(n_near):
        for place in range(view.starts[near[i]], view.starts[near[i] + 1], LANES):
            prefetch(view.terms, place)
    end = 0
    for i in range(n_near):
        begin = end
        end = shared(view, near[i], room.terms, n, places, begin)
        ends[i] = end
        for j in range(begin, end):
            prefetch(view.weights, places[j])
    begin = 0
    for i in range(n_near):
        total = 0.0
        for j in range(begin, ends[i]):
            weight = view.asked[np.int64(view.terms[places[j]])]
            total += weight * np.float64(view.weights[places[j]])
        begin = ends[i]
        size = push(hits, size, total, view.rows[near[i]])
    return size


@njit(forceinline=True)
def push(hits: Hits, size: int, total: float, row: int) -> int:
    """Put a document on the heap, if it belongs there; returns the size of the heap."""
    value = np.float32(total)
    if size < hits.k or value >= hits.scores[0]:
        return np.int64(heaps.push(hits.scores, hits.rows, size, hits.k, value, row))
    return size
