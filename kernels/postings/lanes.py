"""Thirty-two sums of 16 bits as one value in numba; see :mod:`cormorant.kernels.bm25.lanes`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .layout import LANES

_SUMS = ir.VectorType(ir.IntType(16), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_HALF_WORD = ir.IntType(32)
_WORD = ir.IntType(64)
_NO_SUMS = ir.Constant(_SUMS, [0] * LANES)


class Sums(types.Type):
    """The numba type of 32 unsigned sums of 16 bits."""

    def __init__(self) -> None:
        super().__init__(name="Sums")


@register_model(Sums)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _SUMS)


sums_type = Sums()


def _at(builder: Any, pointer: Any, index: Any, of: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), of.as_pointer())


def _everywhere(builder: Any, value: Any, of: Any) -> Any:
    undefined = ir.Constant(of, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_HALF_WORD, 0))
    zeros = ir.Constant(ir.VectorType(_HALF_WORD, LANES), [0] * LANES)
    return builder.shuffle_vector(one, undefined, zeros)


@intrinsic
def load(_typing: Any, pointer: Any, index: Any) -> Any:
    """The 32 sums that begin at an index."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_at(builder, arguments[0], arguments[1], _SUMS), align=2)

    return sums_type(pointer, types.int64), generate


@intrinsic
def store(_typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Put 32 sums at an index."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, index, value = arguments
        builder.store(value, _at(builder, pointer, index, _SUMS), align=2)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, sums_type), generate


@intrinsic
def splat(_typing: Any, value: Any) -> Any:
    """A sum, 32 times."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], _SUMS)

    return sums_type(types.uint16), generate


@intrinsic
def add_row(_typing: Any, sums: Any, index: Any, row: Any, place: Any, factor: Any) -> Any:
    """Add 64 documents' halves of bytes, times a factor, to their sums."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        sums, index, row, place, factor = arguments
        both = builder.load(_at(builder, row, place, _BYTES), align=1)
        factors = _everywhere(builder, factor, _SUMS)
        low = builder.and_(both, ir.Constant(_BYTES, [15] * LANES))
        high = builder.lshr(both, ir.Constant(_BYTES, [4] * LANES))
        for shift, half in ((0, low), (LANES, high)):
            here = builder.add(index, ir.Constant(_WORD, shift))
            address = _at(builder, sums, here, _SUMS)
            more = builder.mul(builder.zext(half, _SUMS), factors)
            builder.store(builder.add(builder.load(address, align=2), more), address, align=2)
        return context.get_dummy_value()

    return types.void(sums, types.int64, row, types.int64, types.uint16), generate


@intrinsic
def keep_where(_typing: Any, value: Any, bits: Any) -> Any:
    """Keep the sums where the bits have a one; the others become 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, bits = arguments
        mask = builder.bitcast(builder.trunc(bits, _HALF_WORD), _BITS)
        return builder.select(mask, value, _NO_SUMS)

    return sums_type(sums_type, types.uint64), generate


@intrinsic
def larger(_typing: Any, value: Any, other: Any) -> Any:
    """The larger of each two sums."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, other = arguments
        return builder.select(builder.icmp_unsigned(">", value, other), value, other)

    return sums_type(sums_type, sums_type), generate


@intrinsic
def at_least(_typing: Any, value: Any, bound: Any) -> Any:
    """A word with a one for each sum that is at least its counterpart."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(builder.icmp_unsigned(">=", *arguments), _HALF_WORD)
        return builder.zext(bits, _WORD)

    return types.uint64(sums_type, sums_type), generate
