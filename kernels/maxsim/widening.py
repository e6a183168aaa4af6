"""Stored numbers made float32, in numba: half precision, bfloat16 and scaled bytes.

numba has neither of the two halves on a processor; LLVM has, and turns a loop over these into the
machine's conversions of sixteen at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_FLOAT = ir.FloatType()
_SHORT = ir.IntType(16)
_BYTE = ir.IntType(8)
_WORD = ir.IntType(32)


def _element(builder: Any, arguments: Any, kind: Any) -> Any:
    address, index = arguments
    pointer = builder.inttoptr(address, kind.as_pointer())
    return builder.load(builder.gep(pointer, [index]), align=kind.width // 8)


@intrinsic
def half_at(_typing: Any, address: Any, index: Any) -> Any:
    """The float16 at an index from an address, as float32.

    Where the processor has no conversion, LLVM would call a function that is not there.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = _element(builder, arguments, _SHORT)
        triple, _, features = context.codegen().magic_tuple()
        if "+f16c" in features or triple.startswith(("aarch64", "arm64")):
            return builder.fpext(builder.bitcast(bits, ir.HalfType()), _FLOAT)
        return _converted(builder, builder.zext(bits, _WORD))

    return types.float32(types.int64, types.int64), generate


def _converted(builder: Any, bits: Any) -> Any:
    """A float16 in the low bits of a word as a float32, by whole numbers and one product.

    Its exponent and digits are shifted to where a float32 has them; 2^112 makes up for the smaller
    bias, exactly, for the smallest too. An exponent of ones means infinity or NaN in both.
    """

    def word(value: int) -> Any:
        return ir.Constant(_WORD, value)

    size = builder.shl(builder.and_(bits, word(0x7FFF)), word(13))
    finite = builder.fmul(builder.bitcast(size, _FLOAT), ir.Constant(_FLOAT, 2.0**112))
    special = builder.icmp_unsigned(">=", size, word(0x1F << 23))
    held = builder.select(
        special, builder.or_(size, word(0xFF << 23)), builder.bitcast(finite, _WORD)
    )
    sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
    return builder.bitcast(builder.or_(held, sign), _FLOAT)


@intrinsic
def bfloat16_at(_typing: Any, address: Any, index: Any) -> Any:
    """The bfloat16 at an index from an address, as float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.zext(_element(builder, arguments, _SHORT), _WORD)
        return builder.bitcast(builder.shl(bits, ir.Constant(_WORD, 16)), _FLOAT)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def byte_at(_typing: Any, address: Any, index: Any) -> Any:
    """The int8 at an index from an address, as float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.sitofp(_element(builder, arguments, _BYTE), _FLOAT)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def code_at(_typing: Any, address: Any, index: Any) -> Any:
    """The uint8 at an index from an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(_element(builder, arguments, _BYTE), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def word_at(_typing: Any, address: Any, index: Any) -> Any:
    """The uint32 at an index from an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(_element(builder, arguments, _WORD), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def float_at(_typing: Any, address: Any, index: Any) -> Any:
    """The float32 at an index from an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _FLOAT.as_pointer())
        return builder.load(builder.gep(pointer, [arguments[1]]), align=4)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def put_float(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Put a float32 at an index from an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _FLOAT.as_pointer())
        builder.store(arguments[2], builder.gep(pointer, [arguments[1]]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


@intrinsic
def is_true(_typing: Any, address: Any, index: Any) -> Any:
    """Whether the bool at an index from an address is True."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned(
            "!=", _element(builder, arguments, _BYTE), ir.Constant(_BYTE, 0)
        )

    return types.boolean(types.int64, types.int64), generate


@intrinsic
def fetch(_typing: Any, address: Any) -> Any:
    """Ask for the cache line at an address, wherever it is; an address of nothing does no harm."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = _BYTE.as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, _WORD, _WORD, _WORD]),
            "llvm.prefetch.p0",
        )
        read, nearby, data = (ir.Constant(_WORD, value) for value in (0, 2, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, nearby, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit(nogil=True, cache=True)
def widen(kind: int, source: int, dim: int, scale: np.float32, target: int) -> None:
    """One vector of a kind (``tokens.KINDS``) at an address, as float32 at another."""
    if kind == 0:
        for i in range(dim):
            put_float(target, i, float_at(source, i))
    elif kind == 1:
        for i in range(dim):
            put_float(target, i, half_at(source, i))
    elif kind == 2:
        for i in range(dim):
            put_float(target, i, bfloat16_at(source, i))
    else:
        for i in range(dim):
            put_float(target, i, byte_at(source, i) * scale)
