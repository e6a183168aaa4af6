"""Eight counts of 64 bits as one value in numba, and inner products of bytes.

A word of a code meets eight words of a query at once: one bit of each of 64 numbers, for each of
the seven bits that a number of the query has, and a word of ones, so that the code's own bits are
counted as well.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 8
LINE = 64
"""Bytes of a cache line."""
_WORD = ir.IntType(64)
_COUNTS = ir.VectorType(_WORD, LANES)
_HALF_WORD = ir.IntType(32)
_SHIFTS = ir.Constant(_COUNTS, [0, 1, 2, 3, 4, 5, 6, 32])
_PRODUCTS = 32
"""Numbers that are multiplied at once."""
_SUMS = ir.VectorType(_HALF_WORD, _PRODUCTS // 2)


class Counts(types.Type):
    """The numba type of eight counts."""

    def __init__(self) -> None:
        super().__init__(name="Counts")


@register_model(Counts)
class _CountsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _COUNTS)


counts_type = Counts()


def _everywhere(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_COUNTS, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_HALF_WORD, 0))
    zeros = ir.Constant(ir.VectorType(_HALF_WORD, LANES), [0] * LANES)
    return builder.shuffle_vector(one, undefined, zeros)


@intrinsic
def nothing(_typing: Any) -> Any:
    """Eight zeros."""

    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.Constant(_COUNTS, [0] * LANES)

    return counts_type(), generate


@intrinsic
def counted(_typing: Any, counts: Any, words: Any, place: Any, planes: Any, index: Any) -> Any:
    """Add the ones that a word, at a place, has in common with each of eight words at an index."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counts, words, place, planes, index = arguments
        word = builder.load(builder.gep(words, [place]))
        address = builder.bitcast(builder.gep(planes, [index]), _COUNTS.as_pointer())
        both = builder.and_(_everywhere(builder, word), builder.load(address, align=8))
        type_ = ir.FunctionType(_COUNTS, [_COUNTS])
        popcount = cgutils.get_or_insert_function(builder.module, type_, "llvm.ctpop.v8i64")
        return builder.add(counts, builder.call(popcount, [both]))

    return counts_type(counts_type, words, types.int64, planes, types.int64), generate


@intrinsic
def doubled(_typing: Any, counts: Any, times: Any, other: Any) -> Any:
    """``other`` and the counts doubled so many times, added."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counts, times, other = arguments
        return builder.add(builder.shl(counts, _everywhere(builder, times)), other)

    return counts_type(counts_type, types.int64, counts_type), generate


@intrinsic
def weighed(_typing: Any, counts: Any) -> Any:
    """The first seven counts as the bits of a number, least first, plus 2^32 times the eighth."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        weighted = builder.shl(arguments[0], _SHIFTS)
        type_ = ir.FunctionType(_WORD, [_COUNTS])
        name = "llvm.vector.reduce.add.v8i64"
        total = cgutils.get_or_insert_function(builder.module, type_, name)
        return builder.call(total, [weighted])

    return types.int64(counts_type), generate


@intrinsic
def sliced(_typing: Any, levels: Any, planes: Any, index: Any) -> Any:
    """64 numbers of seven bits, a byte each, from an index on, as eight words at the like index.

    Word p holds bit p of each number; the eighth holds ones.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        levels, planes, index = arguments
        bytes_ = ir.VectorType(ir.IntType(8), 64)
        numbers = builder.load(
            builder.bitcast(builder.gep(levels, [index]), bytes_.as_pointer()), align=1
        )
        eighth = builder.sdiv(index, ir.Constant(_WORD, 64 // LANES))
        for plane in range(LANES - 1):
            bit = builder.and_(numbers, ir.Constant(bytes_, [1 << plane] * 64))
            bits = builder.icmp_unsigned("!=", bit, ir.Constant(bytes_, [0] * 64))
            at = builder.add(eighth, ir.Constant(_WORD, plane))
            builder.store(builder.bitcast(bits, _WORD), builder.gep(planes, [at]))
        at = builder.add(eighth, ir.Constant(_WORD, LANES - 1))
        builder.store(ir.Constant(_WORD, -1), builder.gep(planes, [at]))
        return _context.get_dummy_value()

    return types.none(levels, planes, types.int64), generate


@intrinsic
def product(_typing: Any, numbers: Any, others: Any, place: Any, n: Any) -> Any:
    """The inner product of n int16 with n int8 from a place on; n is a multiple of 64.

    Pairs of products are added at once, which processors have an instruction for; the sum must fit
    32 bits.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        numbers, others, place, n = arguments
        others = builder.gep(others, [place])
        step = ir.Constant(_WORD, _PRODUCTS)
        sums = cgutils.alloca_once_value(builder, ir.Constant(_SUMS, [0] * (_PRODUCTS // 2)))
        with cgutils.for_range_slice(builder, ir.Constant(_WORD, 0), n, step) as (index, _):
            shorts = ir.VectorType(ir.IntType(16), _PRODUCTS)
            bytes_ = ir.VectorType(ir.IntType(8), _PRODUCTS)
            wide = ir.VectorType(_HALF_WORD, _PRODUCTS)
            left = builder.bitcast(builder.gep(numbers, [index]), shorts.as_pointer())
            right = builder.bitcast(builder.gep(others, [index]), bytes_.as_pointer())
            both = builder.mul(
                builder.sext(builder.load(left, align=2), wide),
                builder.sext(builder.load(right, align=1), wide),
            )
            pairs = [
                builder.shuffle_vector(
                    both,
                    ir.Constant(wide, ir.Undefined),
                    ir.Constant(_SUMS, list(range(first, _PRODUCTS, 2))),
                )
                for first in (0, 1)
            ]
            more = builder.add(*pairs)
            builder.store(builder.add(builder.load(sums), more), sums)
        type_ = ir.FunctionType(_HALF_WORD, [_SUMS])
        name = f"llvm.vector.reduce.add.v{_PRODUCTS // 2}i32"
        total = cgutils.get_or_insert_function(builder.module, type_, name)
        return builder.call(total, [builder.load(sums)])

    return types.int32(numbers, others, types.int64, types.int64), generate


@intrinsic
def soon(_typing: Any, values: Any, place: Any) -> Any:
    """Ask for the cache line of a place, which is read soon."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        values, place = arguments
        where = builder.bitcast(builder.gep(values, [place]), ir.IntType(8).as_pointer())
        flags = [ir.Constant(_HALF_WORD, value) for value in (0, 3, 1)]  # read, keep, data
        kinds = [where.type, _HALF_WORD, _HALF_WORD, _HALF_WORD]
        type_ = ir.FunctionType(ir.VoidType(), kinds)
        prefetch = cgutils.get_or_insert_function(builder.module, type_, "llvm.prefetch.p0i8")
        builder.call(prefetch, [where, *flags])
        return _context.get_dummy_value()

    return types.none(values, types.int64), generate


@intrinsic
def pointer(_typing: Any, array: Any) -> Any:
    """Where an array's numbers are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return made.data

    return types.CPointer(array.dtype)(array), generate


def _pointer_to(kind: Any, ir_kind: Any) -> Any:
    """An intrinsic: where numbers of a kind begin among bytes."""

    @intrinsic
    def pointed(_typing: Any, bytes_: Any, place: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir_kind)

        return types.CPointer(kind)(bytes_, types.int64), generate

    return pointed


floats_at = _pointer_to(types.float32, ir.FloatType().as_pointer())
places_at = _pointer_to(types.int32, _HALF_WORD.as_pointer())
words_at = _pointer_to(types.uint64, _WORD.as_pointer())


@intrinsic
def as_float(_typing: Any, bits: Any) -> Any:
    """The float32 of 32 bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate
