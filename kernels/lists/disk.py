"""What is read of mapped files, asked of the kernel without holding Python up."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from ...contracts import Int64Array

_madvise = types.ExternalFunction("madvise", types.int32(types.intp, types.uintp, types.int32))
_pread = types.ExternalFunction(
    "pread", types.intp(types.int32, types.intp, types.uintp, types.int64)
)


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
def read(file: int, first: int, size: int, numbers: Int64Array, into: int) -> bool:
    """Copy records of ``size`` bytes, of which the file has the first at ``first``; whether all."""
    for i in range(len(numbers)):
        had = 0
        while had < size:
            place = first + numbers[i] * size + had
            got = _pread(np.int32(file), into + i * size + had, np.uintp(size - had), place)
            if got <= 0:
                return False
            had += got
    return True
