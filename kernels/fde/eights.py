"""Eight numbers at a time, in numba: sums in float64, and inner products of blocks; bits of cells.

The compiler would vectorise the loops that these replace, and guard each with a test whether its
arrays overlap; where a loop runs over sixteen numbers the guard costs more than the loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_FLOATS = ir.VectorType(ir.FloatType(), 8)
_DOUBLES = ir.VectorType(ir.DoubleType(), 8)
_BYTES = ir.VectorType(ir.IntType(8), 8)
_INT = ir.IntType(64)


def _at(builder: Any, pointer: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


@intrinsic
def add_eight(_typing: Any, sums: Any, target: Any, values: Any, start: Any) -> Any:
    """Add eight float32 to eight float64; pointers and indices."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        sums, target, values, start = arguments
        value = builder.load(_at(builder, values, start, _FLOATS), align=4)
        place = _at(builder, sums, target, _DOUBLES)
        held = builder.load(place, align=8)
        builder.store(builder.fadd(held, builder.fpext(value, _DOUBLES)), place, align=8)
        return context.get_dummy_value()

    return types.void(sums, types.int64, values, types.int64), generate


@intrinsic
def number_four(
    _typing: Any, numbers: Any, target: Any, products: Any, start: Any, step: Any, bits: Any
) -> Any:
    """Four int64 of some bits: bit i of each says whether its product i is above 0.

    The four products 0 begin at ``products + start``, the four products i ``i * step`` later.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        numbers, target, products, start, step, bits = arguments
        floats, words = ir.VectorType(ir.FloatType(), 4), ir.VectorType(_INT, 4)
        held = cgutils.alloca_once_value(builder, ir.Constant(words, [0] * 4))
        weight = cgutils.alloca_once_value(builder, ir.Constant(words, [1] * 4))
        with cgutils.for_range(builder, bits) as bit:
            place = builder.add(start, builder.mul(bit.index, step))
            value = builder.load(_at(builder, products, place, floats), align=4)
            above = builder.fcmp_ordered(">", value, ir.Constant(floats, [0.0] * 4))
            worth = builder.load(weight)
            none = ir.Constant(words, [0] * 4)
            added = builder.or_(builder.load(held), builder.select(above, worth, none))
            builder.store(added, held)
            builder.store(builder.add(worth, worth), weight)
        builder.store(builder.load(held), _at(builder, numbers, target, words), align=8)
        return context.get_dummy_value()

    i = types.int64
    return types.void(numbers, i, products, i, i, i), generate


@intrinsic
def replace_eight(
    _typing: Any, out: Any, target: Any, values: Any, start: Any, replaced: Any
) -> Any:
    """Copy eight float32 if they are to be replaced, with no branch; pointers and indices."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        out, target, values, start, replaced = arguments
        place = _at(builder, out, target, _FLOATS)
        value = builder.load(_at(builder, values, start, _FLOATS), align=4)
        lanes = ir.VectorType(ir.IntType(1), 8)
        first = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), replaced, first)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        chosen = builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), everywhere)
        held = builder.load(place, align=4)
        builder.store(builder.select(chosen, value, held), place, align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.void(out, i, values, i, types.boolean), generate


@intrinsic
def copy_eight(_typing: Any, out: Any, target: Any, values: Any, start: Any) -> Any:
    """Copy eight float32; pointers and indices."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        out, target, values, start = arguments
        value = builder.load(_at(builder, values, start, _FLOATS), align=4)
        builder.store(value, _at(builder, out, target, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(out, types.int64, values, types.int64), generate


@intrinsic
def round_eight(_typing: Any, out: Any, sums: Any, start: Any, divisor: Any) -> Any:
    """Divide eight float64 and round them to float32; both begin at the same index."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        out, sums, start, divisor = arguments
        total = builder.load(_at(builder, sums, start, _DOUBLES), align=8)
        first = ir.Constant(ir.IntType(32), 0)
        none = ir.Constant(_DOUBLES, ir.Undefined)
        one = builder.insert_element(none, divisor, first)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        mean = builder.fdiv(total, builder.shuffle_vector(one, none, everywhere))
        rounded = builder.fptrunc(mean, _FLOATS)
        builder.store(rounded, _at(builder, out, start, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(out, sums, types.int64, types.float64), generate


@intrinsic
def dot_of_blocks(
    _typing: Any, offsets: Any, values: Any, first: Any, last: Any, held: Any, base: Any
) -> Any:
    """The inner product of blocks of eight numbers, first to last, with parts of one vector.

    ``values`` (float32) has the blocks one after the other, ``offsets`` (int64) where in the vector
    at ``held + base`` (float32 or int8) the part of each begins. Two chains of fused multiply-adds
    in float32 for each of the eight, blocks in turn; then the sixteen are added in float64, in
    order.
    """
    narrow = held.dtype == types.int8

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        offsets, values, first, last, held, base = arguments
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), "llvm.fma.v8f32"
        )
        zero = ir.Constant(_FLOATS, [0.0] * 8)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]

        def add(index: Any, into: Any) -> None:
            eighth = builder.mul(index, ir.Constant(_INT, 8))
            value = builder.load(_at(builder, values, eighth, _FLOATS), align=4)
            offset = builder.add(base, builder.load(builder.gep(offsets, [index])))
            if narrow:
                part = builder.load(_at(builder, held, offset, _BYTES), align=1)
                part = builder.sitofp(part, _FLOATS)
            else:
                part = builder.load(_at(builder, held, offset, _FLOATS), align=4)
            builder.store(builder.call(fma, [value, part, builder.load(into)]), into)

        two, one = ir.Constant(_INT, 2), ir.Constant(_INT, 1)
        pairs = builder.sdiv(builder.sub(last, first), two)
        with cgutils.for_range(builder, pairs) as loop:
            index = builder.add(first, builder.mul(loop.index, two))
            add(index, sums[0])
            add(builder.add(index, one), sums[1])
        odd = builder.add(first, builder.mul(pairs, two))
        with builder.if_then(builder.icmp_signed("<", odd, last)):
            add(odd, sums[0])
        total = ir.Constant(ir.DoubleType(), 0.0)
        for held_sum in sums:
            wide = builder.fpext(builder.load(held_sum), _DOUBLES)
            for lane in range(8):
                part = builder.extract_element(wide, ir.Constant(ir.IntType(32), lane))
                total = builder.fadd(total, part)
        return total

    signature = types.float64(offsets, values, types.int64, types.int64, held, types.int64)
    return signature, generate
