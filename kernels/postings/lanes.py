"""Sixty-four sums of 8 bits as one value in numba; see :mod:`cormorant.kernels.bm25.lanes`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from .layout import LANES

_HALF = LANES // 2
_SUMS = ir.VectorType(ir.IntType(8), LANES)
_BYTES = ir.VectorType(ir.IntType(8), _HALF)
_WIDE = ir.VectorType(ir.IntType(16), _HALF)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_HALF_WORD = ir.IntType(32)
_WORD = ir.IntType(64)
_NO_SUMS = ir.Constant(_SUMS, [0] * LANES)


class Sums(types.Type):
    """The numba type of 64 unsigned sums of 8 bits."""

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
    zeros = ir.Constant(ir.VectorType(_HALF_WORD, of.count), [0] * of.count)
    return builder.shuffle_vector(one, undefined, zeros)


@intrinsic
def load(_typing: Any, pointer: Any, index: Any) -> Any:
    """The 64 sums that begin at an index."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_at(builder, arguments[0], arguments[1], _SUMS), align=1)

    return sums_type(pointer, types.int64), generate


@intrinsic
def store(_typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Put 64 sums at an index."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, index, value = arguments
        builder.store(value, _at(builder, pointer, index, _SUMS), align=1)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, sums_type), generate


@intrinsic
def splat(_typing: Any, value: Any) -> Any:
    """A sum, 64 times."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _everywhere(builder, arguments[0], _SUMS)

    return sums_type(types.uint8), generate


@intrinsic
def add_row(_typing: Any, sums: Any, index: Any, row: Any, place: Any, factor: Any) -> Any:
    """Add 64 documents' halves of bytes, times a factor, to their sums, up to 255."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        sums, index, row, place, factor = arguments
        both = builder.load(_at(builder, row, place, _BYTES), align=1)
        factors = _everywhere(builder, factor, _WIDE)
        most = ir.Constant(_WIDE, [255] * _HALF)
        low = builder.and_(both, ir.Constant(_BYTES, [15] * _HALF))
        high = builder.lshr(both, ir.Constant(_BYTES, [4] * _HALF))
        halves = []
        for half in (low, high):
            more = builder.mul(builder.zext(half, _WIDE), factors)
            more = builder.select(builder.icmp_unsigned("<", more, most), more, most)
            halves.append(builder.trunc(more, _BYTES))
        order = ir.Constant(ir.VectorType(_HALF_WORD, LANES), list(range(LANES)))
        added = builder.shuffle_vector(*halves, order)
        saturating = builder.module.declare_intrinsic(
            f"llvm.uadd.sat.v{LANES}i8", (), ir.FunctionType(_SUMS, [_SUMS, _SUMS])
        )
        address = _at(builder, sums, index, _SUMS)
        total = builder.call(saturating, [builder.load(address, align=1), added])
        builder.store(total, address, align=1)
        return context.get_dummy_value()

    return types.void(sums, types.int64, row, types.int64, types.uint16), generate


@intrinsic
def keep_where(_typing: Any, value: Any, bits: Any) -> Any:
    """Keep the sums where the bits have a one; the others become 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, bits = arguments
        return builder.select(builder.bitcast(bits, _BITS), value, _NO_SUMS)

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
        return builder.bitcast(builder.icmp_unsigned(">=", *arguments), _WORD)

    return types.uint64(sums_type, sums_type), generate


@intrinsic
def equal_to(_typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """A word with a one for each of the 64 elements from an index that equals a value."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, index, value = arguments
        elements = ir.VectorType(pointer.type.pointee, LANES)
        found = builder.load(_at(builder, pointer, index, elements), align=2)
        bits = builder.icmp_unsigned("==", found, _everywhere(builder, value, elements))
        return builder.bitcast(bits, _WORD)

    return types.uint64(pointer, types.int64, pointer.dtype), generate
