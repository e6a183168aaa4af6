"""Sixty-four unsigned bytes as one value in numba, and bits of words.

numba turns neither a bit mask into a masked addition nor a comparison into a bit mask, which is
all that adding a weight to the documents of a bitmap is. LLVM does: these intrinsics emit its
vectors of 64 bytes, one instruction each with AVX-512 and a few with AVX2 or NEON.
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


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _BYTES.as_pointer())


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """The 64 bytes of a uint8 array that begin at an index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.load(pointer, align=1)

    return lanes_type(array, types.int64), generate


@intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Put 64 bytes into a uint8 array at an index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(arguments[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes_type), generate


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
def prefetch(_typing: Any, array: Any, index: Any) -> Any:
    """Ask memory for an element of an array, without waiting for it; it need not exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        byte_pointer = ir.IntType(8).as_pointer()
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), byte_pointer)
        number = ir.IntType(32)
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [byte_pointer],
            ir.FunctionType(ir.VoidType(), [byte_pointer, number, number, number]),
        )
        to_read, keep, data_cache = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(fetch, [pointer, to_read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
