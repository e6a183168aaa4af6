"""Sixty-four unsigned bytes as one value in numba, bits of words, and pointers.

numba turns neither a bit mask into a masked addition nor a comparison into a bit mask, which is
all that adding a weight to the documents of a bitmap is. LLVM does: these intrinsics emit its
vectors of 64 bytes, one instruction each with AVX-512 and a few with AVX2 or NEON.

Whenever an array is passed on, numba counts references to it, and whenever it is indexed, numba
looks whether the index counts from the end. Where a few bytes are touched, these cost more than
what is done, so innermost functions get pointers. An array must outlive its pointers: they are
taken of arguments, never of what the same function allocated.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 64

_BYTES = ir.VectorType(ir.IntType(8), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_ZERO_BYTES = ir.Constant(_BYTES, [0] * LANES)
_WORD = ir.IntType(64)


class Lanes(types.Type):
    """The numba type of 64 unsigned bytes."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _BYTES)


lanes_type = Lanes()


def _lanes_at(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), _BYTES.as_pointer())


@intrinsic
def pointer(_typing: Any, array: Any, index: Any) -> Any:
    """A pointer to an element of a contiguous array, by its flat index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.int64), generate


@intrinsic
def load(_typing: Any, pointer: Any, index: Any) -> Any:
    """The 64 bytes that begin at an index."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_lanes_at(builder, *arguments), align=1)

    return lanes_type(pointer, types.int64), generate


@intrinsic
def store(_typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Put 64 bytes at an index."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, index, value = arguments
        builder.store(value, _lanes_at(builder, pointer, index), align=1)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, lanes_type), generate


@intrinsic
def splat(_typing: Any, value: Any) -> Any:
    """A byte, 64 times."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        undefined = ir.Constant(_BYTES, ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(undefined, arguments[0], first)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, undefined, everywhere)

    return lanes_type(types.uint8), generate


@intrinsic
def add_where(_typing: Any, value: Any, word: Any, addend: Any) -> Any:
    """Add, where the word has a one, without wrapping: 255 stays 255."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, word, addend = arguments
        masked = builder.select(builder.bitcast(word, _BITS), addend, _ZERO_BYTES)
        add = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_BYTES, [_BYTES, _BYTES]),
            f"llvm.uadd.sat.v{LANES}i8",
        )
        return builder.call(add, [value, masked])

    return lanes_type(lanes_type, types.uint64, lanes_type), generate


@intrinsic
def keep_where(_typing: Any, value: Any, word: Any) -> Any:
    """Keep the bytes where the word has a one; the others become 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.select(builder.bitcast(arguments[1], _BITS), arguments[0], _ZERO_BYTES)

    return lanes_type(lanes_type, types.uint64), generate


@intrinsic
def larger(_typing: Any, value: Any, other: Any) -> Any:
    """The larger of each two bytes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, other = arguments
        return builder.select(builder.icmp_unsigned(">", value, other), value, other)

    return lanes_type(lanes_type, lanes_type), generate


@intrinsic
def at_least(_typing: Any, value: Any, bound: Any) -> Any:
    """A word with a one for each byte that is at least its counterpart."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.icmp_unsigned(">=", *arguments), _WORD)

    return types.uint64(lanes_type, lanes_type), generate


@intrinsic
def lowest_one(_typing: Any, word: Any) -> Any:
    """The number of the lowest one of a word that is not zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def count_ones(_typing: Any, word: Any) -> Any:
    """How many ones a word has."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(_typing: Any, pointer: Any, index: Any) -> Any:
    """Ask memory for an element, without waiting for it; it need not exist."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte_pointer = ir.IntType(8).as_pointer()
        address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte_pointer)
        number = ir.IntType(32)
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [byte_pointer],
            ir.FunctionType(ir.VoidType(), [byte_pointer, number, number, number]),
        )
        to_read, keep, data_cache = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(fetch, [address, to_read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(pointer, types.int64), generate
