"""Room for one query at a time: its terms, the sums of a block, and what came near the bar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..bm25.lanes import pointer
from .layout import BLOCK, LANES, Float64Array, Int64Array, UInt8Array

AT_ONCE = 4 * LANES
"""Sums that are looked at together; behind the last there is room, and zeros, for as many."""
PEAK_GROUPS = 8
"""A peak is the largest of the four sums of so many times as many."""
GATHERED = 32
"""Documents whose weights are fetched at a time, so that memory answers for all at once."""


class Room(NamedTuple):
    """Arrays, or as :func:`held` gives them pointers to their beginnings."""

    sums: UInt8Array
    peaks: UInt8Array
    terms: Int64Array
    """The query's, ascending; the six that follow are one of each."""
    ceilings: Float64Array
    worths: Float64Array
    next_run: Int64Array
    order: Int64Array
    least: Int64Array
    added: Int64Array
    near: Int64Array
    shared: Int64Array
    shared_ends: Int64Array


@njit(nogil=True, cache=True)
def room_for(n_documents: int, offsets: Int64Array) -> Room:
    """Arrays for queries that begin at these offsets."""
    longest = 1
    for query in range(len(offsets) - 1):
        longest = max(longest, offsets[query + 1] - offsets[query])
    n_groups = (min(n_documents, BLOCK) + AT_ONCE - 1) // AT_ONCE
    return Room(
        np.zeros(n_groups * AT_ONCE, np.uint8),
        np.empty((n_groups + PEAK_GROUPS - 1) // PEAK_GROUPS * LANES, np.uint8),
        np.empty(longest, np.int64),
        np.empty(longest),
        np.empty(longest),
        np.empty(longest, np.int64),
        np.empty(longest, np.int64),
        np.empty(longest, np.int64),
        np.zeros(longest, np.int64),
        np.empty(GATHERED, np.int64),
        np.empty(GATHERED * longest, np.int64),
        np.empty(GATHERED, np.int64),
    )


@njit(forceinline=True)
def held(room: Room) -> Room:
    """Pointers to arrays, which must outlive them."""
    return Room(
        pointer(room.sums, 0),
        pointer(room.peaks, 0),
        pointer(room.terms, 0),
        pointer(room.ceilings, 0),
        pointer(room.worths, 0),
        pointer(room.next_run, 0),
        pointer(room.order, 0),
        pointer(room.least, 0),
        pointer(room.added, 0),
        pointer(room.near, 0),
        pointer(room.shared, 0),
        pointer(room.shared_ends, 0),
    )
