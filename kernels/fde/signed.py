"""Products of tokens with columns of signs, in numba: four dimensions at a time, by a table.

Four numbers have 16 signed sums, however many columns of signs there are ("the method of the four
Russians": Arlazarov, Dinic, Kronrod and Faradzev, 1970). They are made once for a token, and each
column adds the one that its signs name: AVX-512 looks sixteen up in one register, and two
instructions do what took four multiply-adds. AVX2 looks eight up among those whose first sign is
plus, and negates them where it is minus. Where there is neither, each sum is made anew.

Every version gives the same bits. Of a token x and signs s, in float32, ((s0 x0 + s1 x1) + s2 x2) +
s3 x3 is added to 0, the like of the next four dimensions to that, and so on (missing dimensions are
0); and the whole is multiplied by a scale. A sign changes no digit, so only additions and the last
product round. Four may sum up to -0 in one version and 0 in another, which what they are added to,
itself never -0, does not show.

Rows are float32 at a stride, their dimensions filled up with zeros to a multiple of four.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ...contracts import Array, Float32Array
from ..maxsim.tiles import WIDTH, float32_at, packed

FOUR = 4
"""Dimensions of a table."""
TABLE = 16
"""Room for a table's entries."""
ROWS = 4
"""Rows at a time, most: their tables stay in a core's first cache."""

_FLOAT = ir.FloatType()
_WORD = ir.IntType(32)
_INT = ir.IntType(64)
_FLOATS = ir.VectorType(_FLOAT, WIDTH)
_WORDS = ir.VectorType(_WORD, WIDTH)
_HALF = WIDTH // 2


@cache
def entries() -> int:
    """Entries of a table that this machine looks up in one instruction, 16 or 8; 0 for no table."""
    features = cpu_target.target_context.codegen().magic_tuple()[-1].split(",")
    if "+avx512f" in features:
        return WIDTH
    return _HALF if "+avx2" in features else 0


def packed_signs(columns: Float32Array) -> Array:
    """Columns of signs (n, dim), +-1, as this machine wants them.

    (groups, fours, 16) int32 names of table entries: bit 3 is set where the first of four signs is
    minus, bits 0 to 2 where the others differ from it, and bit 31 is bit 3. Without a table
    (groups, 4 fours, 16) float32, the signs themselves.
    """
    n, dim = columns.shape
    fours = -(-dim // FOUR)
    filled = np.ones((n, fours * FOUR), np.float32)
    filled[:, :dim] = columns
    if entries() == 0:
        return packed(filled)
    minus = (filled < 0).astype(np.uint32).reshape(n, fours, FOUR)
    first = minus[:, :, 0]
    names = np.zeros((-(-n // WIDTH) * WIDTH, fours), np.uint32)
    names[:n] = first << 31 | first << 3
    for i in range(1, FOUR):
        names[:n] |= (minus[:, :, i] ^ first) << (i - 1)
    held = names.view(np.int32).reshape(-1, WIDTH, fours).transpose(0, 2, 1)
    return np.ascontiguousarray(held)


def unpacked_signs(held: Array, n: int, dim: int) -> Float32Array:
    """The columns (n, dim) that ``packed_signs`` has packed."""
    if held.dtype == np.float32:
        filled: Float32Array = held.transpose(0, 2, 1).reshape(-1, held.shape[1])
        return filled[:n, :dim]
    names = held.transpose(0, 2, 1).reshape(-1, held.shape[1], 1)
    minus = (names >> np.array([3, 0, 1, 2])) & 1
    minus[:, :, 1:] ^= minus[:, :, :1]
    signs: Float32Array = (1 - 2 * minus).astype(np.float32)
    return signs.reshape(len(names), FOUR * names.shape[1])[:n, :dim]


def _at(builder: Any, pointer: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


def _constant(value: int) -> Any:
    return ir.Constant(_INT, value)


def _everywhere(builder: Any, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_WORD, 0))
    zeros = ir.Constant(ir.VectorType(_WORD, lanes), [0] * lanes)
    return builder.shuffle_vector(one, undefined, zeros)


def _signed_sum(builder: Any, values: list[Any], signs: list[Any]) -> Any:
    """Emit the sum of four values with signs, vectors of any length."""
    kind = values[0].type
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{kind.count}f32"
    )
    total = builder.fmul(values[0], signs[0])
    for value, sign in zip(values[1:], signs[1:], strict=True):
        total = builder.call(fma, [value, sign, total])
    return total


def _looked_up(builder: Any, table: Any, names: Any, minus: Any) -> Any:
    """Emit the look-up of sixteen entries in a table of sixteen, or of eight."""
    floats = table.type
    words = ir.VectorType(_WORD, floats.count)
    name = "avx512.permvar.sf.512" if floats.count == WIDTH else "avx2.permps"
    permute = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(floats, [floats, words]), f"llvm.x86.{name}"
    )
    if floats.count == WIDTH:
        return builder.call(permute, [table, names])
    halves = []
    for first in (0, _HALF):
        lanes = ir.Constant(words, list(range(first, first + _HALF)))
        half = builder.shuffle_vector(names, ir.Constant(_WORDS, ir.Undefined), lanes)
        halves.append(builder.call(permute, [table, half]))
    both = builder.shuffle_vector(*halves, ir.Constant(_WORDS, list(range(WIDTH))))
    return builder.bitcast(builder.xor(builder.bitcast(both, _WORDS), minus), _FLOATS)


@intrinsic
def fill_tables(_typing: Any, n_rows: Any, fours: Any, rows: Any, stride: Any, tables: Any) -> Any:
    """The signed sums of each four dimensions of some rows: (fours, n_rows, 16) at ``tables``.

    Where the first sign is plus come first. Does nothing where no table is looked up.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        n_rows, fours, rows, stride, tables = arguments
        n = entries()
        if n == 0:
            return context.get_dummy_value()
        kind = ir.VectorType(_FLOAT, n)
        signs = [ir.Constant(kind, [1.0 - 2 * (entry >> 3 & 1) for entry in range(n)])]
        for i in range(FOUR - 1):
            differ = [(entry >> 3 ^ entry >> i) & 1 for entry in range(n)]
            signs.append(ir.Constant(kind, [1.0 - 2 * minus for minus in differ]))
        with (
            cgutils.for_range(builder, n_rows) as row,
            cgutils.for_range(builder, fours) as four,
        ):
            start = builder.add(
                builder.mul(row.index, stride), builder.mul(four.index, _constant(FOUR))
            )
            values = []
            for i in range(FOUR):
                place = builder.gep(rows, [builder.add(start, _constant(i))])
                values.append(_everywhere(builder, builder.load(place, align=4), n))
            table = builder.add(builder.mul(four.index, n_rows), row.index)
            place = _at(builder, tables, builder.mul(table, _constant(TABLE)), kind)
            builder.store(_signed_sum(builder, values, signs), place, align=4)
        return context.get_dummy_value()

    pointer = types.CPointer(types.float32)
    i = types.int64
    return types.void(i, i, pointer, i, pointer), generate


class _Tile:
    """The loop over the fours of some rows and groups of columns, as it is emitted."""

    def __init__(self, builder: Any, n_rows: int, groups: int, arguments: Any) -> None:
        self.builder = builder
        self.n_rows = n_rows
        self.groups = groups
        self.fours, self.columns, self.rows, self.stride, self.tables = arguments

    def sums(self) -> list[list[Any]]:
        """Emit it; returns the sums, a list for each row."""
        builder = self.builder
        before = builder.block
        loop = builder.append_basic_block("four")
        after = builder.append_basic_block("summed")
        builder.branch(loop)
        builder.position_at_end(loop)
        four = builder.phi(_INT)
        four.add_incoming(_constant(0), before)
        sums = [[builder.phi(_FLOATS) for _ in range(self.groups)] for _ in range(self.n_rows)]
        parts = self._from_tables(four) if entries() else self._made_anew(four)
        following = builder.add(four, _constant(1))
        four.add_incoming(following, loop)
        for row in range(self.n_rows):
            for group in range(self.groups):
                added = builder.fadd(sums[row][group], parts[row][group])
                sums[row][group].add_incoming(ir.Constant(_FLOATS, [0.0] * WIDTH), before)
                sums[row][group].add_incoming(added, loop)
                parts[row][group] = added
        builder.cbranch(builder.icmp_signed("<", following, self.fours), loop, after)
        builder.position_at_end(after)
        return parts

    def _vector(self, pointer: Any, place: Any, kind: Any) -> Any:
        return self.builder.load(_at(self.builder, pointer, place, kind), align=4)

    def _column(self, four: Any, group: int, step: int) -> Any:
        """Where the signs of this four and group begin, of ``step`` elements a four."""
        before = self.builder.mul(self.fours, _constant(group))
        return self.builder.mul(self.builder.add(before, four), _constant(step))

    def _from_tables(self, four: Any) -> list[list[Any]]:
        builder = self.builder
        columns = builder.inttoptr(self.columns, _WORD.as_pointer())
        names = [
            self._vector(columns, self._column(four, group, WIDTH), _WORDS)
            for group in range(self.groups)
        ]
        sign = ir.Constant(_WORDS, [1 << 31] * WIDTH)
        minus = [builder.and_(one, sign) for one in names]
        first = builder.mul(four, _constant(self.n_rows * TABLE))
        parts = []
        for row in range(self.n_rows):
            place = builder.add(first, _constant(row * TABLE))
            table = self._vector(self.tables, place, ir.VectorType(_FLOAT, entries()))
            parts.append(
                [_looked_up(builder, table, names[g], minus[g]) for g in range(self.groups)]
            )
        return parts

    def _made_anew(self, four: Any) -> list[list[Any]]:
        builder = self.builder
        columns = builder.inttoptr(self.columns, _FLOAT.as_pointer())
        signs = []
        for group in range(self.groups):
            first = self._column(four, group, FOUR * WIDTH)
            places = [builder.add(first, _constant(i * WIDTH)) for i in range(FOUR)]
            signs.append([self._vector(columns, place, _FLOATS) for place in places])
        parts = []
        for row in range(self.n_rows):
            start = builder.add(
                builder.mul(self.stride, _constant(row)), builder.mul(four, _constant(FOUR))
            )
            values = []
            for i in range(FOUR):
                place = builder.gep(self.rows, [builder.add(start, _constant(i))])
                values.append(_everywhere(builder, builder.load(place, align=4), WIDTH))
            parts.append([_signed_sum(builder, values, signs[g]) for g in range(self.groups)])
        return parts


def _tile(groups: int) -> Any:
    """An intrinsic over 1 to ``ROWS`` rows and so many groups of columns.

    ``(n_rows, fours, columns, rows, stride, tables, scale, out, out_stride)``: ``columns`` is the
    address of what ``packed_signs`` gives; strides are in elements. The products of row r are put
    at ``out + r * out_stride``.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        n_rows, *inputs, scale, out, out_stride = arguments
        done = builder.append_basic_block("done")
        switch = builder.switch(n_rows, done)
        for count in range(1, ROWS + 1):
            case = builder.append_basic_block(f"rows{count}")
            switch.add_case(_constant(count), case)
            builder.position_at_end(case)
            sums = _Tile(builder, count, groups, inputs).sums()
            factor = _everywhere(builder, scale, WIDTH)
            for row in range(count):
                for group in range(groups):
                    index = builder.add(
                        builder.mul(out_stride, _constant(row)), _constant(group * WIDTH)
                    )
                    product = builder.fmul(sums[row][group], factor)
                    builder.store(product, _at(builder, out, index, _FLOATS), align=4)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    @intrinsic
    def tile(
        _typing: Any,
        n_rows: Any,
        fours: Any,
        columns: Any,
        rows: Any,
        stride: Any,
        tables: Any,
        scale: Any,
        out: Any,
        out_stride: Any,
    ) -> Any:
        i, pointer = types.int64, types.CPointer(types.float32)
        inputs = (i, i, i, pointer, i, pointer)
        return types.void(*inputs, types.float32, pointer, i), generate

    return tile


_sums_of_four = _tile(4)
_sums_of_two = _tile(2)
_sums_of_one = _tile(1)


def tables_for(dim: int) -> Float32Array:
    """Room for the tables of as many rows as are multiplied at a time: (fours, rows, 16)."""
    rows = ROWS if entries() == WIDTH else ROWS // 2
    return np.empty((-(-dim // FOUR), rows, TABLE), np.float32)


@njit(nogil=True, cache=True)
def project(
    n_rows: int,
    rows: int,
    stride: int,
    columns: Array,
    scale: np.float32,
    tables: Float32Array,
    out: int,
) -> None:
    """Products of rows, float32 at an address, and columns: (n_rows, n_groups * 16) at another.

    ``columns``: see ``packed_signs``; ``tables``: see ``tables_for``.
    """
    fours, at_once, _ = tables.shape
    n_groups = len(columns)
    size = columns.strides[0]
    width = n_groups * WIDTH
    room, given = float32_at(tables.ctypes.data), columns.ctypes.data
    n_tiles = (n_rows + at_once - 1) // at_once
    for tile in range(n_tiles):
        first = n_rows * tile // n_tiles  # all tiles nearly alike: a row alone takes longest
        n = n_rows * (tile + 1) // n_tiles - first
        asked = float32_at(rows + first * stride * 4)
        fill_tables(n, fours, asked, stride, room)
        group = 0
        while group < n_groups:
            held = given + group * size
            target = float32_at(out + (first * width + group * WIDTH) * 4)
            if at_once == ROWS and group + 4 <= n_groups:
                _sums_of_four(n, fours, held, asked, stride, room, scale, target, width)
                group += 4
            elif group + 2 <= n_groups:
                _sums_of_two(n, fours, held, asked, stride, room, scale, target, width)
                group += 2
            else:
                _sums_of_one(n, fours, held, asked, stride, room, scale, target, width)
                group += 1
