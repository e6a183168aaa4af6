"""Tokens into cells and back into numbers, in numba: the hash, the sums, the filling.

A token's side of a hyperplane is the sign of their inner product in float64. It is computed in
float32, and again in float64 only where float32 cannot tell: so no batch, no machine and no other
version puts a token into another cell.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...contracts import Array, Float32Array, Int64Array
from ..bm25.lanes import pointer
from ..maxsim.documents import Held, multiply, widen_token
from ..maxsim.tiles import WIDTH, int64_at
from ..maxsim.widening import is_true
from .eights import add_eight, copy_eight, number_four, replace_eight, round_eight
from .settings import TIE_BITS
from .signed import FOUR, project, tables_for

Float64Array: TypeAlias = NDArray[np.float64]

TOKENS = 40
"""Tokens that are hashed and projected at a time."""
_NO_TOKEN = 1 << 62
_STEP = 1 << TIE_BITS
"""A distance of one, above any tie number."""
_TIES = _STEP - 1
_ROUNDING = 2.0**-23
_LARGE = np.float32(1e38)
"""Above it a sum may have overflowed on its way."""


class Plan(NamedTuple):
    """Some repetitions of an encoding; matrices packed into groups of columns (``tiles``).

    ``normals``: (k_sim * n_repetitions, dim), first those that say bit 0 in each repetition.

    ``inner``: the signs of the inner projections (``signed.packed_signs``), which are times
    ``scale``; empty where there is none, as ``mean`` is where nothing is subtracted, and ``places``
    and ``signs`` where there is no final sketch.
    """

    n_repetitions: int
    k_sim: int
    width: int
    normals: Float32Array
    packed_normals: Float32Array
    longest_normal: float
    inner: Array
    scale: np.float32
    mean: Float32Array
    places: Int64Array
    signs: Float32Array
    tie_factors: Int64Array


class Room(NamedTuple):
    """What one thread works in; rows of tokens, then cells of all repetitions.

    ``values`` and ``hashed`` have rows that zeros fill up to a multiple of four numbers.
    ``fills``: what a cell's token of the least tie number is made of; ``least``: that number;
    ``finished``: the cells of a text that is sketched; ``order``: a repetition's cells, first those
    that hold a sum and then, from the middle on, those that are filled.
    """

    values: Float32Array
    hashed: Float32Array
    products: Float32Array
    tables: Float32Array
    projected: Float32Array
    numbers: Int64Array
    ties: Int64Array
    sums: Float64Array
    fills: Float32Array
    finished: Float32Array
    counts: Int64Array
    least: Int64Array
    keys: Int64Array
    owners: Int64Array
    order: Int64Array


def room_for(plan: Plan, dim: int) -> Room:
    """Room for one thread."""
    cells = plan.n_repetitions << plan.k_sim
    filled = -(-dim // FOUR) * FOUR
    return Room(
        np.zeros((TOKENS, filled), np.float32),
        np.zeros((TOKENS, filled), np.float32),
        np.empty((TOKENS, max(1, len(plan.packed_normals)) * WIDTH), np.float32),
        tables_for(dim),
        np.empty((TOKENS, max(1, len(plan.inner)) * WIDTH), np.float32),
        np.empty((TOKENS, plan.n_repetitions), np.int64),
        np.empty(TOKENS, np.int64),
        np.empty((cells, plan.width), np.float64),
        np.empty((cells, plan.width), np.float32),
        np.empty((cells if len(plan.places) else 0, plan.width), np.float32),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(1 << plan.k_sim, np.int64),
        np.empty(1 << plan.k_sim, np.int64),
        np.empty(2 << plan.k_sim, np.int64),
    )


@njit(nogil=True, cache=True)
def encode_all(
    held: Held,
    plan: Plan,
    room: Room,
    document: bool,
    filled: bool,
    begin: int,
    end: int,
    out: Float32Array,
    sketched: Float64Array,
) -> int:
    """Encode texts begin to end; returns the first that has a number that is not finite, or -1.

    Fills ``out`` (n, repetitions * cells * width) where there is no sketch; else adds to
    ``sketched`` (n, d_final) float64.
    """
    starts = int64_at(held.starts)
    for text in range(begin, end):
        n = gather(held, plan, room, document, filled, starts[text], starts[text + 1])
        if n < 0:
            return text
        if n > 0:
            finish(plan, room, document, filled, text, out, sketched)
        elif len(plan.places) == 0:
            out[text] = 0.0
    return -1


@njit(nogil=True, cache=True)
def gather(
    held: Held, plan: Plan, room: Room, document: bool, filled: bool, first: int, last: int
) -> int:
    """Sum up the tokens first to last in their cells; how many count, -1 if one is not finite."""
    room.sums[:] = 0.0
    room.counts[:] = 0
    room.least[:] = _NO_TOKEN
    n, rows = 0, 0
    for token in range(first, last):
        if held.mask != 0 and not is_true(held.mask, token):
            continue
        widen_token(held, token, room.values.ctypes.data + rows * room.values.strides[0])
        rows += 1
        if rows == TOKENS:
            if not add(held, plan, room, document, filled, rows):
                return -1
            n, rows = n + rows, 0
    if rows > 0 and not add(held, plan, room, document, filled, rows):
        return -1
    return n + rows


@njit(nogil=True, cache=True)
def add(held: Held, plan: Plan, room: Room, document: bool, filled: bool, rows: int) -> bool:
    """Hash and project the rows gathered, and add them to their cells; False if not finite."""
    dim, width = held.dim, plan.width
    hashed, values = room.values, room.values
    if len(plan.mean) > 0:
        for row in range(rows):
            for i in range(dim):
                room.hashed[row, i] = room.values[row, i] - plan.mean[i]
        hashed = room.hashed
        if document:
            values = room.hashed
    if not hash_rows(held, plan, room, hashed, rows):
        return False
    projected = len(plan.inner) > 0
    if projected:
        project(
            rows, values.ctypes.data, values.shape[1], plan.inner, plan.scale, room.tables,
            room.projected.ctypes.data,
        )  # fmt: skip
    columns = room.projected.shape[1] if projected else values.shape[1]
    source = pointer(room.projected, 0) if projected else pointer(values, 0)
    numbers, counts = pointer(room.numbers, 0), pointer(room.counts, 0)
    ties, least = pointer(room.ties, 0), pointer(room.least, 0)
    sums, fills = pointer(room.sums, 0), pointer(room.fills, 0)
    whole = width - width % 8
    if filled:
        tie_rows(room, plan, values, rows, dim)
    for repetition in range(plan.n_repetitions):
        base = repetition << plan.k_sim
        across = repetition * width if projected else 0
        for row in range(rows):
            cell = base + numbers[row * plan.n_repetitions + repetition]
            start, target = row * columns + across, cell * width
            for i in range(0, whole, 8):
                add_eight(sums, target + i, source, start + i)
            for i in range(whole, width):
                sums[target + i] += np.float64(source[start + i])
            counts[cell] += 1
            if filled:
                replaced = ties[row] < least[cell]
                least[cell] = min(least[cell], ties[row])
                for i in range(0, whole, 8):
                    replace_eight(fills, target + i, source, start + i, replaced)
                for i in range(whole, width):
                    fills[target + i] = source[start + i] if replaced else fills[target + i]
    return True


@njit(nogil=True, cache=True)
def tie_rows(room: Room, plan: Plan, values: Float32Array, rows: int, dim: int) -> None:
    """The tie number of each row: a hash of its bits, whatever the order of tokens is."""
    bits, factors = pointer(values.view(np.int32), 0), pointer(plan.tie_factors, 0)
    for row in range(rows):
        total = 0
        for i in range(dim):
            total += np.int64(bits[row * values.shape[1] + i]) * factors[i]
        room.ties[row] = (total >> (64 - TIE_BITS)) & _TIES


@njit(nogil=True, cache=True)
def hash_rows(held: Held, plan: Plan, room: Room, hashed: Float32Array, rows: int) -> bool:
    """The cell of each row in each repetition; False where a number is not finite."""
    dim, stride = held.dim, hashed.shape[1]
    n_groups = len(plan.packed_normals)
    for row in range(0, rows, held.at_once):
        if n_groups > 0:
            multiply(
                min(held.at_once, rows - row), dim, plan.packed_normals.ctypes.data, n_groups,
                hashed.ctypes.data + row * stride * 4, stride,
                room.products.ctypes.data + row * n_groups * WIDTH * 4,
            )  # fmt: skip
    tokens, normals = pointer(hashed, 0), pointer(plan.normals, 0)
    numbers = pointer(room.numbers, 0)
    n_normals = len(plan.normals)
    fours = plan.n_repetitions - plan.n_repetitions % 4
    for row in range(rows):
        length = squared(tokens, row * stride, dim)
        if not length < np.inf:  # squares of float32 cannot overflow in float64
            return False
        doubt = np.float32((dim + 2) * _ROUNDING * np.sqrt(length) * plan.longest_normal + 1e-30)
        products = pointer(room.products, row * n_groups * WIDTH)
        unsure = 0
        for column in range(n_normals):
            size = abs(products[column])
            unsure += not ((size > doubt) & (size < _LARGE))
        if unsure > 0:
            settle(products, n_normals, doubt, tokens, row * stride, normals, dim)
        across = row * plan.n_repetitions
        for repetition in range(0, fours, 4):
            number_four(
                numbers, across + repetition, products, repetition, plan.n_repetitions, plan.k_sim
            )
        for repetition in range(fours, plan.n_repetitions):
            number = np.int64(0)
            for bit in range(plan.k_sim):
                column = bit * plan.n_repetitions + repetition
                number |= np.int64(products[column] > 0) << bit
            numbers[across + repetition] = number
    return True


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def squared(tokens: Float32Array, token: int, dim: int) -> float:
    """A token's squared length, added up in any order: it decides what is computed, no number."""
    length = 0.0
    for i in range(dim):
        length += np.float64(tokens[token + i]) * np.float64(tokens[token + i])
    return length


@njit(nogil=True, cache=True)
def settle(
    products: Float32Array,
    n_normals: int,
    doubt: np.float32,
    tokens: Float32Array,
    token: int,
    normals: Float32Array,
    dim: int,
) -> None:
    """Replace products that may have the wrong sign, or overflowed, by 1 or -1 of the right one."""
    for column in range(n_normals):
        if not doubt < abs(products[column]) < _LARGE:
            product = exact(tokens, token, normals, column * dim, dim)
            products[column] = 1.0 if product > 0.0 else -1.0


@njit(nogil=True, cache=True)
def exact(tokens: Float32Array, token: int, normals: Float32Array, normal: int, dim: int) -> float:
    """An inner product in float64: every fourth number's, and these four added up."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = dim - dim % 4
    for i in range(0, whole, 4):
        a += np.float64(tokens[token + i]) * np.float64(normals[normal + i])
        b += np.float64(tokens[token + i + 1]) * np.float64(normals[normal + i + 1])
        c += np.float64(tokens[token + i + 2]) * np.float64(normals[normal + i + 2])
        d += np.float64(tokens[token + i + 3]) * np.float64(normals[normal + i + 3])
    for i in range(whole, dim):
        a += np.float64(tokens[token + i]) * np.float64(normals[normal + i])
    return (a + b) + (c + d)


@njit(nogil=True, cache=True)
def finish(
    plan: Plan,
    room: Room,
    document: bool,
    filled: bool,
    text: int,
    out: Float32Array,
    sketched: Float64Array,
) -> None:
    """Write one text's cells: sums of a query, means of a document and what fills the empty."""
    n_cells, width = 1 << plan.k_sim, plan.width
    whole = width - width % 8
    counts, owners = pointer(room.counts, 0), pointer(room.owners, 0)
    sums, fills = pointer(room.sums, 0), pointer(room.fills, 0)
    finished = pointer(room.finished, 0)
    if len(plan.places) == 0:
        finished = pointer(out, text * out.shape[1])
    order = pointer(room.order, 0)
    for repetition in range(plan.n_repetitions):
        base = repetition << plan.k_sim
        if filled:
            nearest(room, base, plan.k_sim)
        n_summed, n_empty = 0, 0
        for cell in range(n_cells):  # told apart first: a branch for each could not be foretold
            empty = filled & (counts[base + cell] == 0)
            order[n_summed] = cell
            order[n_cells + n_empty] = cell
            n_summed, n_empty = n_summed + (not empty), n_empty + empty
        for place in range(n_summed):
            cell = base + order[place]
            start = cell * width
            divisor = np.float64(max(1, counts[cell])) if document else 1.0
            for i in range(0, whole, 8):
                round_eight(finished, sums, start + i, divisor)
            for i in range(whole, width):
                finished[start + i] = np.float32(sums[start + i] / divisor)
        for place in range(n_cells, n_cells + n_empty):
            start, other = (base + order[place]) * width, (base + owners[order[place]]) * width
            for i in range(0, whole, 8):
                copy_eight(finished, start + i, fills, other + i)
            for i in range(whole, width):
                finished[start + i] = fills[other + i]
    if len(plan.places) > 0:
        finals = pointer(sketched, text * sketched.shape[1])
        places, signs = pointer(plan.places, 0), pointer(plan.signs, 0)
        for i in range(len(plan.places)):
            finals[places[i]] += np.float64(signs[i] * finished[i])


@njit(nogil=True, cache=True)
def nearest(room: Room, base: int, k_sim: int) -> None:
    """For each cell, the one whose tokens are nearest by Hamming distance.

    Of several, the one with the least tie number, which also decides between a cell's tokens.

    One pass for each bit: what is nearest through a cell's neighbour is one further away. After all
    of them every pair of cells has met, k 2^k steps in all. A key is a distance and, below it, a
    tie number.
    """
    n_cells = 1 << k_sim
    keys, owners = pointer(room.keys, 0), pointer(room.owners, 0)
    least = pointer(room.least, base)
    for cell in range(n_cells):
        keys[cell] = least[cell]
        owners[cell] = cell
    for bit in range(k_sim):
        other = 1 << bit
        for start in range(0, n_cells, 2 * other):
            for cell in range(start, start + other):
                one, two = keys[cell], keys[cell + other]
                owner, across = owners[cell], owners[cell + other]
                keys[cell] = min(one, two + _STEP)  # no branch: none could be foretold
                owners[cell] = across if two + _STEP < one else owner
                keys[cell + other] = min(two, one + _STEP)
                owners[cell + other] = owner if one + _STEP < two else across
