"""Eight counts of 64 bits as one value in numba.

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
_WEIGHTS = ir.Constant(_COUNTS, [1, 2, 4, 8, 16, 32, 64, 0])


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
    """The first seven counts as the bits of a number, least first: their sum by weight."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        weighted = builder.mul(arguments[0], _WEIGHTS)
        type_ = ir.FunctionType(_WORD, [_COUNTS])
        name = "llvm.vector.reduce.add.v8i64"
        total = cgutils.get_or_insert_function(builder.module, type_, name)
        return builder.call(total, [weighted])

    return types.int64(counts_type), generate


@intrinsic
def last(_typing: Any, counts: Any) -> Any:
    """The eighth count."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], ir.Constant(_HALF_WORD, LANES - 1))

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
            up = builder.shl(numbers, ir.Constant(bytes_, [7 - plane] * 64))
            bits = builder.icmp_signed("<", up, ir.Constant(bytes_, [0] * 64))
            at = builder.add(eighth, ir.Constant(_WORD, plane))
            builder.store(builder.bitcast(bits, _WORD), builder.gep(planes, [at]))
        at = builder.add(eighth, ir.Constant(_WORD, LANES - 1))
        builder.store(ir.Constant(_WORD, -1), builder.gep(planes, [at]))
        return _context.get_dummy_value()

    return types.none(levels, planes, types.int64), generate


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
