"""The numba version: codes by a search over scales, estimates by population counts."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from .lanes import (
    LANES,
    as_float,
    counted,
    doubled,
    floats_at,
    nothing,
    pointer,
    sliced,
    weighed,
    words_at,
)
from .layout import HEAD_BYTES, QUERY_BITS, WORD

UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]

_SCALES = 12
"""Scales tried for a vector of 2 bits or more; the best of them is within a thousandth of the
cosine of the best there is."""
_LEAST = (0.0, 0.0, 0.75, 1.4, 2.6)
_MOST = (0.0, 0.0, 1.25, 2.4, 4.8)
"""The scales, in grid steps for one standard deviation of a residual's numbers, by bits."""
_ZERO = np.float32(0.0)


def encode(residuals: Float32Array, bits: int, record: UInt8Array) -> None:
    """See :mod:`cormorant.kernels.rabitq`."""
    _encode(residuals, bits, np.float32(_LEAST[bits]), np.float32(_MOST[bits]), record)


@numba.njit(cache=True, nogil=True)
def _encode(
    residuals: Float32Array, bits: int, least: np.float32, most: np.float32, record: UInt8Array
) -> None:
    n, dim = residuals.shape
    words = dim // WORD
    steps = record[4 * n : 8 * n].view(np.float32)
    squares = record[8 * n : 12 * n].view(np.float32)
    spreads = record[12 * n : 16 * n].view(np.float32)
    codes = record[HEAD_BYTES * n :].view(np.uint64)
    levels = np.float32(1 << bits)
    middle = np.float32((levels - 1.0) / 2.0)
    for row in range(n):
        residual = residuals[row]
        square = 0.0
        for i in range(dim):
            square += np.float64(residual[i]) * np.float64(residual[i])
        first = row * bits * words
        for i in range(bits * words):
            codes[first + i] = np.uint64(0)
        squares[row] = np.float32(square)
        steps[row] = np.float32(0.0)
        spreads[row] = np.float32(0.0)
        if squares[row] < np.float32(1e-30):
            continue
        deviation = np.float32(np.sqrt(square / dim))
        best_scale, best_cosine = np.float32(1.0) / deviation, -1.0
        for number in range(_SCALES if bits > 1 else 1):
            scale = best_scale if bits == 1 else np.float32(1.0)
            if bits > 1:
                scale = (least + (most - least) * np.float32(number / (_SCALES - 1))) / deviation
            product, length = np.float32(0.0), np.float32(0.0)
            for i in range(dim):
                level = np.floor(residual[i] * scale + levels / np.float32(2.0))
                level = min(max(level, np.float32(0.0)), levels - np.float32(1.0)) - middle
                product += level * residual[i]
                length += level * level
            cosine = product / np.sqrt(length)
            if cosine > best_cosine:
                best_cosine, best_scale = cosine, scale
        inner, norm = np.float64(0.0), np.float64(0.0)
        for i in range(dim):
            level = np.floor(residual[i] * best_scale + levels / np.float32(2.0))
            level = min(max(level, np.float32(0.0)), levels - np.float32(1.0))
            code = np.uint64(level)
            for plane in range(bits):
                bit = (code >> np.uint64(plane)) & np.uint64(1)
                codes[first + plane * words + i // WORD] |= bit << np.uint64(i % WORD)
            inner += np.float64(level - middle) * np.float64(residual[i])
            norm += np.float64(level - middle) ** 2
        alike = min(inner / np.sqrt(norm * square), 1.0)
        steps[row] = np.float32(square / inner)
        apart = np.sqrt(max(1.0 - alike * alike, 0.0)) / alike
        spreads[row] = np.float32(2.0 * np.sqrt(square) * apart / np.sqrt(max(dim - 1.0, 1.0)))


@numba.njit(cache=True, nogil=True)
def estimate(
    record: UInt8Array,
    n: int,
    bits: int,
    query: Float32Array,
    squares: Float32Array,
    spreads: Float32Array,
) -> None:
    """See :mod:`cormorant.kernels.rabitq`."""
    levels = np.empty(len(query), np.uint8)
    planes = np.empty((len(query) // WORD, LANES), np.uint64)
    residual = np.empty(len(query), np.float32)
    square = residual_into(query, np.zeros(len(query), np.int8), _ZERO, residual)
    rounding = rounded_into(residual, levels, planes)
    totals = np.empty(n, np.int64)
    estimate_into(pointer(record), 0, n, bits, planes, rounding, square, totals, squares, spreads)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def residual_into(
    query: Float32Array, codes: NDArray[np.int8], scale: np.float32, residual: Float32Array
) -> np.float32:
    """A query less a centroid; returns its squared length."""
    square = _ZERO
    for i in range(len(query)):
        number = query[i] - scale * np.float32(codes[i])
        residual[i] = number
        square += number * number
    return square


@numba.njit(cache=True, nogil=True)
def _ends(numbers: Float32Array) -> tuple[np.float32, np.float32]:
    """The least and the greatest number, by integers of the same order: those are vectorised."""
    bits = numbers.view(np.int32)
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for i in range(len(bits)):
        ordered = np.int32(bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        low, high = min(low, ordered), max(high, ordered)
    least = as_float(np.int32(low ^ ((low >> np.int32(31)) & np.int32(0x7FFFFFFF))))
    return least, as_float(np.int32(high ^ ((high >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@numba.njit(cache=True, nogil=True)
def rounded_into(
    residual: Float32Array, levels: UInt8Array, planes: UInt64Array
) -> tuple[np.float32, np.float32, np.int32]:
    """Round a query's residual, with levels (dim,) uint8 as room: planes (dim / 64, LANES) uint64.

    Returns the least number, the step and the sum of the rounded numbers in steps.
    """
    low, high = _ends(residual)
    step = (high - low) / np.float32((1 << QUERY_BITS) - 1)
    inverse = np.float32(1.0) / step if step > _ZERO else _ZERO
    total = np.int32(0)
    for i in range(len(residual)):
        level = np.int32((residual[i] - low) * inverse + np.float32(0.5))
        total = np.int32(total + level)
        levels[i] = np.uint8(level)
    asked = pointer(planes)
    for word in range(len(planes)):
        sliced(pointer(levels), asked, word * WORD)
    return low, step, total


@numba.njit(cache=True, nogil=True)
def estimate_into(
    records: Any,
    start: int,
    n: int,
    bits: int,
    planes: UInt64Array,
    rounding: tuple[np.float32, np.float32, np.int32],
    square: np.float32,
    totals: Int64Array,
    squares_out: Float32Array,
    spreads_out: Float32Array,
) -> None:
    """``estimate`` of a residual that ``rounded_into`` rounded, with ``totals`` (n,) as room.

    ``records``: a pointer to bytes, of which the record begins at ``start``.
    """
    words = len(planes)
    low, step, rounded_total = rounding
    codes = words_at(records, start + HEAD_BYTES * n)
    asked = pointer(planes)
    for row in range(n):
        place = row * bits * words
        sums = nothing()
        for plane in range(bits):
            own = nothing()
            for word in range(words):
                own = counted(own, codes, place, asked, word * LANES)
                place += 1
            sums = doubled(own, plane, sums)
        totals[row] = weighed(sums)
    heads = numba.carray(floats_at(records, start), 4 * n)
    steps, squares, spreads = heads[n : 2 * n], heads[2 * n : 3 * n], heads[3 * n :]
    middle = np.float32(((1 << bits) - 1) / 2.0)
    # <u - middle, z> with z = low + step w:  step <u, w> + low sum(u) - middle sum(z)
    dim = np.float32(words * WORD)
    shift = middle * (low * dim + step * np.float32(rounded_total))
    length = np.sqrt(square)
    for row in range(n):
        products, ones = np.int32(totals[row]), np.int32(totals[row] >> np.int64(32))
        inner = step * np.float32(products) + low * np.float32(ones) - shift
        squares_out[row] = squares[row] + square - np.float32(2.0) * steps[row] * inner
        spreads_out[row] = spreads[row] * length
