"""Inner products of rows with sixteen columns at a time, in numba: the innermost loop.

Every product is one chain of fused multiply-adds in float32, from the first dimension to the last.
IEEE 754 says what such a chain gives, so a product depends on its two vectors and on nothing else:
not on the rows and columns beside it, nor on how wide the machine's vectors are. A library's matrix
product promises no such thing. This one is no slower: up to 10 rows times 32 columns stay in
registers (20 of the 32 that AVX-512 has), two loads and a broadcast for every row feed two
multiply-adds a row.

Columns are packed into groups (n_groups, dim, 16); rows are float32, at a stride.

numba writes no such loop from Python: it keeps no array of accumulators in registers. These
intrinsics emit LLVM's vectors, which are AVX-512, AVX2 or NEON as the machine has them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...contracts import Float32Array

WIDTH = 16
"""Columns in a group."""
MOST_ROWS = 10

_FLOAT = ir.FloatType()
_INT = ir.IntType(64)
_LANES = ir.VectorType(_FLOAT, WIDTH)


@cache
def rows_at_once() -> int:
    """How many rows keep their products in registers on this machine."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return MOST_ROWS if features.get("avx512f") else 3


def packed(columns: Float32Array) -> Float32Array:
    """Columns (n, dim) as groups: (groups, dim, 16) float32, filled up with zeros."""
    n, dim = columns.shape
    groups = -(-n // WIDTH)
    padded = np.zeros((groups * WIDTH, dim), np.float32)
    padded[:n] = columns
    return np.ascontiguousarray(padded.reshape(groups, WIDTH, dim).transpose(0, 2, 1))


@intrinsic
def float32_at(_typing: Any, address: Any) -> Any:
    """A pointer to float32 from an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _FLOAT.as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


@intrinsic
def int64_at(_typing: Any, address: Any) -> Any:
    """A pointer to int64 from an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _INT.as_pointer())

    return types.CPointer(types.int64)(types.int64), generate


def _lanes_pointer(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), _LANES.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_LANES, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(one, undefined, everywhere)


def _products(
    builder: Any, n_rows: int, groups: int, dim: Any, columns: Any, rows: Any, stride: Any
) -> list[list[Any]]:
    """Emit the loop over the dimensions; returns the accumulators, a list for each row."""
    fma = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(_LANES, [_LANES, _LANES, _LANES]),
        f"llvm.fma.v{WIDTH}f32",
    )
    before = builder.block
    loop = builder.append_basic_block("dimension")
    after = builder.append_basic_block("summed")
    group_size = builder.mul(dim, ir.Constant(_INT, WIDTH))
    row_starts = [builder.mul(stride, ir.Constant(_INT, row)) for row in range(n_rows)]
    builder.branch(loop)

    builder.position_at_end(loop)
    zero = ir.Constant(_LANES, [0.0] * WIDTH)
    place = builder.phi(_INT)
    place.add_incoming(ir.Constant(_INT, 0), before)
    sums = [[builder.phi(_LANES) for _ in range(groups)] for _ in range(n_rows)]
    asked = []
    for group in range(groups):
        start = builder.mul(place, ir.Constant(_INT, WIDTH))
        if group:
            start = builder.add(start, group_size)
        asked.append(builder.load(_lanes_pointer(builder, columns, start), align=4))
    added = []
    for row in range(n_rows):
        index = builder.add(place, row_starts[row])
        value = _splat(builder, builder.load(builder.gep(rows, [index]), align=4))
        added.append([builder.call(fma, [asked[g], value, sums[row][g]]) for g in range(groups)])
    following = builder.add(place, ir.Constant(_INT, 1))
    place.add_incoming(following, loop)
    for row in range(n_rows):
        for group in range(groups):
            sums[row][group].add_incoming(zero, before)
            sums[row][group].add_incoming(added[row][group], loop)
    builder.cbranch(builder.icmp_signed("<", following, dim), loop, after)
    builder.position_at_end(after)
    return added


def _tile(groups: int, *, keep_greatest: bool) -> Any:
    """An intrinsic over 1 to 10 rows and so many groups of columns.

    ``(n_rows, dim, columns, rows, stride, out, out_stride)``: pointers to float32, strides in
    elements. Either each element of ``out`` (groups * 16) becomes the greatest of itself and its
    column's products (a product that is NaN is never the greatest), or the products of row r are
    put at ``out + r * out_stride``.
    """
    pointer = types.CPointer(types.float32)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        n_rows, dim, columns, rows, stride, out, out_stride = arguments
        done = builder.append_basic_block("done")
        switch = builder.switch(n_rows, done)
        for count in range(1, MOST_ROWS + 1):
            case = builder.append_basic_block(f"rows{count}")
            switch.add_case(ir.Constant(_INT, count), case)
            builder.position_at_end(case)
            sums = _products(builder, count, groups, dim, columns, rows, stride)
            for group in range(groups):
                first = ir.Constant(_INT, group * WIDTH)
                if keep_greatest:
                    place = _lanes_pointer(builder, out, first)
                    best = builder.load(place, align=4)
                    for row in range(count):
                        value = sums[row][group]
                        best = builder.select(builder.fcmp_ordered(">", value, best), value, best)
                    builder.store(best, place, align=4)
                else:
                    for row in range(count):
                        index = builder.add(builder.mul(out_stride, ir.Constant(_INT, row)), first)
                        place = _lanes_pointer(builder, out, index)
                        builder.store(sums[row][group], place, align=4)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    @intrinsic
    def tile(
        _typing: Any,
        n_rows: Any,
        dim: Any,
        columns: Any,
        rows: Any,
        stride: Any,
        out: Any,
        out_stride: Any,
    ) -> Any:
        i = types.int64
        return types.void(i, i, pointer, pointer, i, pointer, i), generate

    return tile


greatest_of_one = _tile(1, keep_greatest=True)
greatest_of_two = _tile(2, keep_greatest=True)
products_of_one = _tile(1, keep_greatest=False)
products_of_two = _tile(2, keep_greatest=False)
