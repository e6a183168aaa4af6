"""What is read of mapped files, asked of the kernel without holding Python up."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from ...contracts import Int64Array

_madvise = types.ExternalFunction("madvise", types.int32(types.intp, types.uintp, types.int32))
_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.intp, types.uintp, types.int64)
)
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
_POLLS = 2000
"""Looks for what is being read, of less than a microsecond each, before it is waited for."""
_there: Any
if _NOWAIT is None:

    @numba.njit(cache=True, nogil=True)
    def _there(file: int, place: int, into: int, size: int) -> int:
        return -1

else:
    _preadv2 = types.ExternalFunction(
        "preadv2", types.intp(types.int32, types.intp, types.int32, types.int64, types.int32)
    )
    _yield = types.ExternalFunction("sched_yield", types.int32())
    _flags = np.int32(_NOWAIT)

    @numba.njit(cache=True, nogil=True)
    def _there(file: int, place: int, into: int, size: int) -> int:
        """Read what the page cache has; else somebody else may use the processor for a moment."""
        vector = np.array([into, size])
        got: int = _preadv2(np.int32(file), vector.ctypes.data, np.int32(1), place, _flags)
        if got <= 0:
            _yield()
        return got


@numba.njit(cache=True, nogil=True)
def joined(starts: Int64Array, ends: Int64Array, page: int, gap: int) -> Int64Array:
    """Pages, from, to, (m, 2), of n stretches of bytes by start; those near each other as one."""
    spans = np.empty((len(starts), 2), np.int64)
    n = 0
    for i in range(len(starts)):
        first, last = starts[i] // page * page, -(-ends[i] // page) * page
        if n and first <= spans[n - 1, 1] + gap:
            spans[n - 1, 1] = max(spans[n - 1, 1], last)
        else:
            spans[n, 0], spans[n, 1] = first, last
            n += 1
    return spans[:n]


@numba.njit(cache=True, nogil=True)
def advise(start: int, spans: Int64Array, advice: int) -> int:
    """Of how many spans the kernel refused it."""
    refused = 0
    for i in range(len(spans)):
        first, last = spans[i, 0], spans[i, 1]
        refused += _madvise(start + first, np.uintp(last - first), np.int32(advice)) != 0
    return refused


@numba.njit(cache=True, nogil=True)
def begin(
    start: int, first: int, size: int, numbers: Int64Array, page: int, gap: int, advice: int
) -> int:
    """Advise the kernel of records of ``size`` bytes, the first at ``start + first``.

    Returns how many bytes it was told of.
    """
    starts = first + np.sort(numbers) * size
    spans = joined(starts, starts + size, page, gap)
    advise(start, spans, advice)
    told = 0
    for i in range(len(spans)):
        told += spans[i, 1] - spans[i, 0]
    return told


@numba.njit(cache=True, nogil=True)
def read(file: int, first: int, numbers: Int64Array, into: NDArray[np.uint8], polled: bool) -> bool:
    """Copy records (n, size) of bytes, of which the file has the first at ``first``; whether all.

    ``polled``: what the disk is still reading is looked for again and again for a while, which is
    sooner seen than waited for: a processor that sleeps has to be woken, and comes back with its
    caches empty.
    """
    size, held = into.shape[1], into.ctypes.data
    polls = _POLLS if polled else 0
    for i in range(len(numbers)):
        had = 0
        while had < size:
            place = first + numbers[i] * size + had
            address, left = held + i * size + had, size - had
            got = -1
            while got <= 0 and polls > 0:
                got = _there(file, place, address, left)
                polls -= got <= 0
            if got <= 0:
                got = _pread(np.int32(file), address, np.uintp(left), place)
            if got <= 0:
                return False
            had += got
    return True
