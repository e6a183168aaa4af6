"""Sums of table entries that product codes name, in numba, for one query or sixteen side by side.

A table of sixteen queries is 256 rows of one cache line, 16 KiB. A few at a time are applied to
many documents, so that they come from memory seldom and stay in a core's second cache; and within
that four at a time to some of the documents, whose codes and sums then stay in the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ...contracts import Array, Float32Array, Int64Array
from ..bm25.lanes import pointer

LANES = 16
"""Queries side by side."""
FOUR = 4
"""Tables that are applied at a time."""
BLOCK = 8192
"""Documents whose sums are held at a time."""
_TABLES = 4 * FOUR
_DOCUMENTS = 512

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INT = ir.IntType(64)


def _lanes(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), _FLOATS.as_pointer())


@intrinsic
def put_products(
    _typing: Any, out: Any, target: Any, values: Any, first: Any, n: Any, lanes: Any, start: Any
) -> Any:
    """Sixteen sums of n products, in order: ``values[first + i] * lanes[start + 16 i]``, to out."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        out, target, values, first, n, lanes, start = arguments
        total = cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * LANES))
        word = ir.IntType(32)
        everywhere = ir.Constant(ir.VectorType(word, LANES), [0] * LANES)
        with cgutils.for_range(builder, n) as loop:
            value = builder.load(builder.gep(values, [builder.add(first, loop.index)]))
            none = ir.Constant(_FLOATS, ir.Undefined)
            one = builder.insert_element(none, value, ir.Constant(word, 0))
            broadcast = builder.shuffle_vector(one, none, everywhere)
            place = builder.add(start, builder.mul(loop.index, ir.Constant(_INT, LANES)))
            asked = builder.load(_lanes(builder, lanes, place), align=4)
            added = builder.fadd(builder.load(total), builder.fmul(broadcast, asked))
            builder.store(added, total)
        builder.store(builder.load(total), _lanes(builder, out, target), align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.void(out, i, values, i, i, lanes, i), generate


@intrinsic
def add_rows(
    _typing: Any, sums: Any, target: Any, tables: Any, a: Any, b: Any, c: Any, d: Any
) -> Any:
    """Add four rows of sixteen float32 to sixteen others, one after the other."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        sums, target, tables, *rows = arguments
        place = _lanes(builder, sums, target)
        total = builder.load(place, align=4)
        for row in rows:
            total = builder.fadd(total, builder.load(_lanes(builder, tables, row), align=4))
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.void(sums, i, tables, i, i, i, i), generate


@njit(nogil=True, cache=True)
def fill_tables(
    touched: Int64Array, centroids: Float32Array, asked: Float32Array, tables: Float32Array
) -> None:
    """Inner products of all centroids of some groups with the queries ``asked`` (size, lanes).

    ``tables``: (n_groups or more, 256, lanes), each product a sum in the order of the dimensions.
    """
    _, n_centroids, group = centroids.shape
    lanes = asked.shape[1]
    out, held, wide = pointer(tables, 0), pointer(centroids, 0), pointer(asked, 0)
    for place in range(len(touched)):
        first = touched[place] * group
        for c in range(n_centroids):
            row = touched[place] * n_centroids + c
            target = (place * n_centroids + c) * lanes
            if lanes == LANES:
                put_products(out, target, held, row * group, group, wide, first * LANES)
            else:
                total = np.float32(0.0)
                for i in range(group):
                    total += held[row * group + i] * wide[first + i]
                out[target] = total


@njit(nogil=True, cache=True)
def look_up(
    columns: Int64Array,
    tables: Float32Array,
    codes: Array,
    begin: int,
    end: int,
    sums: Float32Array,
    scores: Float32Array,
) -> None:
    """Scores (n_queries, n_documents) of the documents begin to end.

    ``columns``: which code goes with each of the ``tables``; a multiple of four. ``sums``: room for
    ``BLOCK`` documents, times lanes.
    """
    _, n_centroids, lanes = tables.shape
    totals = pointer(sums, 0)
    for first in range(begin, end, BLOCK):
        last = min(end, first + BLOCK)
        sums[: (last - first) * lanes] = 0
        for table in range(0, len(columns), _TABLES):
            until = min(len(columns), table + _TABLES)
            for document in range(first, last, _DOCUMENTS):
                n = min(_DOCUMENTS, last - document)
                for place in range(table, until, FOUR):
                    add_four(
                        pointer(columns, place), pointer(tables, place * n_centroids * lanes),
                        n_centroids, lanes, pointer(codes, document * codes.shape[1]),
                        codes.shape[1], n, pointer(sums, (document - first) * lanes),
                    )  # fmt: skip
        for query in range(len(scores)):
            for document in range(last - first):
                scores[query, first + document] = totals[document * lanes + query]


@njit(nogil=True, cache=True)
def add_four(
    columns: Int64Array,
    tables: Float32Array,
    n_centroids: int,
    lanes: int,
    codes: Array,
    size: int,
    n: int,
    sums: Float32Array,
) -> None:
    """Add what four codes of each of n documents name in four tables; all arrays are pointers."""
    a, b, c, d = columns[0], columns[1], columns[2], columns[3]
    step = n_centroids * lanes
    for document in range(n):
        row = document * size
        one = np.int64(codes[row + a]) * lanes
        two = step + np.int64(codes[row + b]) * lanes
        three = 2 * step + np.int64(codes[row + c]) * lanes
        four = 3 * step + np.int64(codes[row + d]) * lanes
        if lanes == LANES:
            add_rows(sums, document * LANES, tables, one, two, three, four)
        else:
            total = sums[document] + tables[one]
            sums[document] = total + tables[two] + tables[three] + tables[four]
