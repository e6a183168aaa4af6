"""The CPU version: torch multiplies the halves, numba keeps what may be among the best."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array, Int64Array

Int16Array = NDArray[np.int16]

_ROWS = 4096
_GROUP = 64
_QUERIES = 1024
_ROOM = 1 << 23
"""At most how many candidates are held at once: it bounds memory at any k."""
_ROUNDING = 2.0**-9
_SUMMING = 2.0**-23


class Half(NamedTuple):
    """Vectors in bfloat16: (rows, dim), a torch tensor; and what bounds the error of a score."""

    vectors: Any
    largest_norm: float
    largest_error: float


class Found(NamedTuple):
    """Candidates of all queries, one after the other; see :mod:`cormorant.kernels.nearest`."""

    places: Int64Array
    starts: Int64Array
    doubtful: BoolArray


def halved(vectors: Float32Array) -> Half:
    """Round vectors (rows, dim) to bfloat16."""
    import torch

    half = torch.empty(vectors.shape, dtype=torch.bfloat16)
    norm = error = 0.0
    for start in range(0, len(vectors), _ROWS):
        block = torch.from_numpy(np.array(vectors[start : start + _ROWS]))
        rounded = block.bfloat16()
        half[start : start + _ROWS] = rounded
        back = rounded.float()
        norm = max(norm, float(block.norm(dim=1).max()), float(back.norm(dim=1).max()))
        error = max(error, float((block - back).norm(dim=1).max()))
    return Half(half, norm, error)


def nearest(half: Half, queries: Float32Array, k: int, allowed: BoolArray | None) -> Found:
    """See :mod:`cormorant.kernels.nearest`."""
    rows = len(half.vectors)
    through = np.ones(0, np.bool_) if allowed is None else allowed
    kept = [np.zeros(0, np.int64)]
    counts = np.zeros(len(queries), np.int64)
    at_once = max(8, min(_QUERIES, _ROOM // (max(8 * k, 512) + _ROWS)))
    for first in range(0, len(queries), at_once):
        some = slice(first, first + at_once)
        places, counts[some] = _some(half, queries[some], min(k, rows), through, rows)
        kept.append(places)
    starts = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(np.maximum(counts, 0), out=starts[1:])
    return Found(np.concatenate(kept), starts, counts < 0)


def _some(
    half: Half, queries: Float32Array, k: int, through: BoolArray, rows: int
) -> tuple[Int64Array, Int64Array]:
    import torch

    asked = torch.from_numpy(np.ascontiguousarray(queries))
    rounded = asked.bfloat16()
    back = rounded.float()
    norms = back.norm(dim=1)
    errors = (
        (asked - back).norm(dim=1) * half.largest_norm
        + norms * half.largest_error
        + norms * half.largest_norm * (_ROUNDING + queries.shape[1] * _SUMMING)
    )
    slack = (errors * (2.0 * (1.0 + 2.0**-10))).numpy()  # and the bound's own rounding

    room = max(8 * k, 512) + _ROWS
    n = len(queries)
    places = np.empty((n, room), np.int64)
    keys = np.empty((n, room), np.int16)
    counts = np.zeros(n, np.int64)
    least = np.full(n, -32768, np.int16)
    scores = torch.empty((n, _ROWS), dtype=torch.bfloat16)
    for start in range(0, rows, _ROWS):
        block = half.vectors[start : start + _ROWS]
        out = scores if len(block) == _ROWS else torch.empty((n, len(block)), dtype=scores.dtype)
        torch.mm(rounded, block.T, out=out)
        _keep(out.view(torch.int16).numpy(), start, through, k, slack, places, keys, counts, least)
    _thin(k, slack, places, keys, counts, least)
    there = np.arange(room) < counts[:, None]
    return places[there], counts


@numba.njit(cache=True, nogil=True, inline="always")
def _key(bits: Any) -> Any:
    """A bfloat16 as an integer in the same order; it is its own inverse."""
    return np.int16(bits ^ ((bits >> 15) & 0x7FFF))


@numba.njit(cache=True, nogil=True)
def _keep(
    scores: Int16Array,
    start: int,
    through: BoolArray,
    k: int,
    slack: Float32Array,
    places: Int64Array,
    keys: Int16Array,
    counts: Int64Array,
    least: Int16Array,
) -> None:
    """Add what may be among the best of a block of scores (queries, rows), as bfloat16 bits."""
    n, width = scores.shape
    room = places.shape[1]
    groups = (width + _GROUP - 1) // _GROUP
    best = np.empty(groups, np.int16)
    for query in range(n):
        row = scores[query]
        for group in range(groups):
            end = min(width, (group + 1) * _GROUP)
            greatest = np.int16(-32768)
            for column in range(group * _GROUP, end):
                greatest = max(greatest, _key(row[column]))
            best[group] = greatest
        if start == 0 and len(through) == 0 and groups >= k:
            # At least k scores are no less than the k-th best of the groups' best.
            least[query] = _lowered(np.partition(best, groups - k)[groups - k], slack[query])
        count = counts[query]
        if count < 0:
            continue
        for group in range(groups):
            if best[group] < least[query]:
                continue
            for column in range(group * _GROUP, min(width, (group + 1) * _GROUP)):
                key = _key(row[column])
                if key >= least[query] and (len(through) == 0 or through[start + column]):
                    places[query, count] = start + column
                    keys[query, count] = key
                    count += 1
        counts[query] = count
        if count > room - _ROWS:
            _thin_one(query, k, slack, places, keys, counts, least)
            if counts[query] > room - _ROWS:
                counts[query] = -1  # too many to tell apart


@numba.njit(cache=True, nogil=True)
def _thin(
    k: int,
    slack: Float32Array,
    places: Int64Array,
    keys: Int16Array,
    counts: Int64Array,
    least: Int16Array,
) -> None:
    for query in range(len(counts)):
        _thin_one(query, k, slack, places, keys, counts, least)


@numba.njit(cache=True, nogil=True)
def _thin_one(
    query: int,
    k: int,
    slack: Float32Array,
    places: Int64Array,
    keys: Int16Array,
    counts: Int64Array,
    least: Int16Array,
) -> None:
    """Drop what cannot be among the k best any more."""
    count = counts[query]
    if count < k:
        return
    held = keys[query, :count]
    lowest = _lowered(np.partition(held, count - k)[count - k], slack[query])
    kept = 0
    for place in range(count):
        if held[place] >= lowest:
            places[query, kept] = places[query, place]
            keys[query, kept] = held[place]
            kept += 1
    counts[query] = kept
    least[query] = lowest


@numba.njit(cache=True, nogil=True)
def _lowered(key: Any, by: float) -> Any:
    """The key of the greatest bfloat16 that is no more than that of ``key`` less ``by``."""
    bits = np.int32(np.int16(key ^ ((key >> 15) & 0x7FFF))) << 16
    value = np.array([bits], np.int32).view(np.float32)[0] - np.float32(by)
    lowered: Any = np.int64(np.array([value], np.float32).view(np.int32)[0] >> 16)
    return np.int16(max(-32768, (lowered ^ ((lowered >> 15) & 0x7FFF)) - 1))
