"""The numba version: one query at a time, nothing but its own lists read."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array, Int64Array
from ..rabitq.cpu import estimate_into, residual_into, rounded_into
from ..rabitq.lanes import LANES, LINE, places_at, pointer, product, soon
from ..rabitq.layout import HEAD_BYTES, WORD
from .layout import Lists, Rule, Survivors

Int32Array = NDArray[np.int32]

_ONE = np.float32(1.0)
_SOON = 2
"""Lists that are fetched while another is looked at."""
COMPARED, COMPARED_LEAST = 8, 512
"""Lists of near groups that are compared with a query: so many for one that may be read, and so
many more."""


def closest(
    products: Float32Array, squares: Float32Array, width: int
) -> tuple[Int32Array, Float32Array]:
    """See :mod:`cormorant.kernels.lists`."""
    width = min(width, products.shape[1])
    ids = np.full((len(products), width), -1, np.int32)
    apart = np.full((len(products), width), np.inf, np.float32)
    _closest(products, squares, ids, apart)
    return ids, apart


def distances(lists: Lists, query: Float32Array) -> Float32Array:
    """See :mod:`cormorant.kernels.lists`."""
    result: Float32Array = _distances(lists, query)
    return result


def choose(lists: Lists, query: Float32Array, rule: Rule, allowed: Int32Array) -> Int32Array:
    """See :mod:`cormorant.kernels.lists`."""
    chosen: Int32Array = _choose(lists, query, *rule, allowed)
    return chosen


def survivors(
    lists: Lists,
    query: Float32Array,
    numbers: Int32Array,
    k: int,
    slack: float,
    most: int,
    mask: BoolArray,
) -> Survivors:
    """See :mod:`cormorant.kernels.lists`."""
    return Survivors(*_survivors(lists, query, numbers, k, np.float32(slack), most, mask))


@numba.njit(cache=True, nogil=True)
def _closest(
    products: Float32Array, squares: Float32Array, ids: Int32Array, apart: Float32Array
) -> None:
    width = ids.shape[1]
    for row in range(products.shape[0]):
        worst = np.float32(np.inf)
        for number in range(products.shape[1]):
            distance = squares[number] - np.float32(2.0) * products[row, number]
            if distance < worst:
                at = width - 1
                while at > 0 and apart[row, at - 1] > distance:
                    apart[row, at] = apart[row, at - 1]
                    ids[row, at] = ids[row, at - 1]
                    at -= 1
                apart[row, at] = distance
                ids[row, at] = number
                worst = apart[row, width - 1]


@numba.njit(cache=True, nogil=True)
def _in_bytes(query: Float32Array) -> tuple[NDArray[np.int16], np.float32, np.float32]:
    """A query rounded to 8 bits a number, the step, and the rounded one's squared length."""
    largest, square = np.float32(0.0), np.float32(0.0)
    for i in range(len(query)):
        largest = max(largest, abs(query[i]))
    step = largest / np.float32(127.0) if largest > 0 else _ONE
    rounded = np.empty(len(query), np.int16)
    for i in range(len(query)):
        rounded[i] = np.int16(np.rint(query[i] / step))
        square += (np.float32(rounded[i]) * step) ** 2
    return rounded, step, square


@numba.njit(cache=True, nogil=True)
def _distance(
    rounded: NDArray[np.int16],
    step: np.float32,
    square: np.float32,
    centroids: NDArray[np.int8],
    number: int,
    scale: np.float32,
    own: np.float32,
) -> np.float32:
    dim = len(rounded)
    inner = product(pointer(rounded), pointer(centroids), number * dim, dim)
    squared = square + own - np.float32(2.0) * (np.float32(inner) * step * scale)
    distance: np.float32 = np.sqrt(max(squared, np.float32(0.0)))
    return distance


@numba.njit(cache=True, nogil=True)
def _to_each(
    rounded: NDArray[np.int16],
    step: np.float32,
    square: np.float32,
    centroids: NDArray[np.int8],
    scales: Float32Array,
    squares: Float32Array,
) -> Float32Array:
    result = np.empty(len(scales), np.float32)
    for i in range(len(result)):
        result[i] = _distance(rounded, step, square, centroids, i, scales[i], squares[i])
    return result


@numba.njit(cache=True, nogil=True)
def _distances(lists: Lists, query: Float32Array) -> Float32Array:
    """True distances of the rounded query to every centroid."""
    rounded, step, square = _in_bytes(query)
    found: Float32Array = _to_each(
        rounded, step, square, lists.centroids, lists.scales, lists.squares
    )
    return found


@numba.njit(cache=True, nogil=True)
def _near(lists: Lists, query: Float32Array, wanted: int) -> tuple[Int32Array, Float32Array]:
    """The lists of the nearest groups, until there are so many, and their distances."""
    rounded, step, square = _in_bytes(query)
    groups = lists.groups
    apart = _to_each(rounded, step, square, groups.centroids, groups.scales, groups.squares)
    order = np.argsort(apart)
    seen, taken = 0, 0
    while seen < wanted and taken < len(order):
        group = order[taken]
        seen += groups.starts[group + 1] - groups.starts[group]
        taken += 1
    numbers, result = np.empty(seen, np.int32), np.empty(seen, np.float32)
    n = 0
    for group in order[:taken]:
        for number in range(groups.starts[group], groups.starts[group + 1]):
            numbers[n] = number
            result[n] = _distance(
                rounded,
                step,
                square,
                lists.centroids,
                number,
                lists.scales[number],
                lists.squares[number],
            )
            n += 1
    return numbers, result


@numba.njit(cache=True, nogil=True)
def _within(apart: Float32Array, eps2: float, radius: float, most: int) -> Int64Array:
    """Which distances the rule takes, least first, of equal ones the lower place."""
    nearest = np.float32(np.inf)
    for i in range(len(apart)):
        nearest = min(nearest, apart[i])
    bound = (
        np.float64(nearest) + eps2 * max(np.float64(nearest), radius) if eps2 < np.inf else np.inf
    )
    limit = np.float32(bound)  # not below the bound
    if limit < bound:
        limit = np.nextafter(limit, np.float32(np.inf))
    near = np.empty(len(apart), np.int64)
    n = 0
    for i in range(len(apart)):
        near[n] = i
        n += apart[i] <= limit
    near = near[:n]
    if n > most:  # most of the lists may be within the bound; only a few are sorted
        farthest = np.partition(apart[near], most - 1)[most - 1]
        near = near[apart[near] <= farthest]
    return near[np.argsort(apart[near], kind="mergesort")][:most]


@numba.njit(cache=True, nogil=True)
def _choose(
    lists: Lists,
    query: Float32Array,
    eps2: float,
    radius: float,
    most: int,
    least: int,
    allowed: Int32Array,
) -> Int32Array:
    n = len(lists.counts)
    if n == 0 or most == 0:
        return np.empty(0, np.int32)
    compared = COMPARED * most + COMPARED_LEAST
    some = len(lists.groups.scales) > 0 and eps2 < np.inf and 2 * compared <= n
    near: Int32Array
    if some and len(allowed) == 0:
        numbers, distances = _near(lists, query, compared)
        near = numbers[_within(distances, eps2, radius, most)]
        apart = distances[:0]
    else:
        apart = _distances(lists, query)
        near = _within(apart, eps2, radius, most).astype(np.int32)
    codes = np.int64(0)
    for number in near:
        codes += lists.counts[number]
    if len(allowed) == 0 and (codes >= least or len(near) == n):
        return near
    # Lists that the rule did not give are needed as well.
    if len(apart) == 0:
        apart = _distances(lists, query)
    wanted = codes if codes > least else np.int64(least)
    order = np.argsort(apart, kind="mergesort")
    chosen = np.empty(n, np.int32)
    codes, taken = np.int64(0), 0
    for number in order:
        if codes >= wanted:
            break
        holds = lists.counts[number] if len(allowed) == 0 else allowed[number]
        if holds > 0:
            chosen[taken] = number
            codes += holds
            taken += 1
    return chosen[:taken].copy()


@numba.njit(cache=True, nogil=True)
def _enter(
    best: Float32Array, owners: Int64Array, held: int, estimate: np.float32, place: int
) -> int:
    """Keep an estimate among the least, ascending, one for each place; how many are held."""
    k = len(best)
    for i in range(held):
        if owners[i] == place:
            if best[i] <= estimate:
                return held
            for j in range(i, held - 1):
                best[j], owners[j] = best[j + 1], owners[j + 1]
            held -= 1
            break
    at = held if held < k else k - 1
    while at > 0 and best[at - 1] > estimate:
        best[at], owners[at] = best[at - 1], owners[at - 1]
        at -= 1
    best[at], owners[at] = estimate, place
    return min(held + 1, k)


@numba.njit(cache=True, nogil=True)
def _fetch(lists: Lists, number: int, code_bytes: int) -> None:
    """Ask for the cache lines of a list, which is looked at soon: lists lie far apart."""
    dim = lists.centroids.shape[1]
    for line in range(0, dim, LINE):
        soon(pointer(lists.centroids), number * dim + line)
    if lists.slots[number] >= 0:
        for line in range(0, lists.counts[number] * code_bytes, LINE):
            soon(pointer(lists.kept), lists.slots[number] + line)


@numba.njit(cache=True, nogil=True)
def _survivors(
    lists: Lists,
    query: Float32Array,
    numbers: Int32Array,
    k: int,
    slack: np.float32,
    most: int,
    mask: BoolArray,
) -> tuple[Int64Array, Float32Array, Float32Array, int]:
    dim = len(query)
    code_bytes = HEAD_BYTES + lists.bits * (dim // WORD) * 8
    total, longest = np.int64(0), np.int64(1)
    for number in numbers:
        total += lists.counts[number]
        longest = max(longest, np.int64(lists.counts[number]))
    residual = np.empty(dim, np.float32)
    levels = np.empty(dim, np.uint8)
    planes = np.empty((dim // WORD, LANES), np.uint64)
    totals = np.empty(longest, np.int64)
    estimates, spreads = np.empty(longest, np.float32), np.empty(longest, np.float32)
    best, owners = np.full(k, np.float32(np.inf)), np.full(k, np.int64(-1))
    near, lows = np.empty(total, np.float32), np.empty(total, np.float32)
    places = np.empty(total, np.int64)
    held, n_near, codes = 0, 0, np.int64(0)
    kept, paged = pointer(lists.kept), pointer(lists.paged)
    for number in numbers[:_SOON]:
        _fetch(lists, number, code_bytes)
    for turn in range(len(numbers)):
        if turn + _SOON < len(numbers):
            _fetch(lists, numbers[turn + _SOON], code_bytes)
        number = np.int64(numbers[turn])
        count = np.int64(lists.counts[number])
        if count == 0:
            continue
        held_here = lists.slots[number] >= 0
        records = kept if held_here else paged
        start = lists.slots[number] if held_here else lists.offsets[number]
        square = residual_into(query, lists.centroids[number], lists.scales[number], residual)
        rounding = rounded_into(residual, levels, planes)
        estimate_into(
            records, start, count, lists.bits, planes, rounding, square, totals, estimates, spreads
        )
        codes += count
        bar = best[k - 1]
        here = numba.carray(places_at(records, start), count)
        for i in range(count):
            least = estimates[i] - slack * spreads[i]
            if least > bar:
                continue
            place = np.int64(here[i])
            if len(mask) and not mask[place]:
                continue
            if estimates[i] < bar:
                held = _enter(best, owners, held, estimates[i], place)
                bar = best[k - 1]
            near[n_near], lows[n_near], places[n_near] = estimates[i], least, place
            n_near += 1
    bar = best[k - 1]
    through = np.flatnonzero(lows[:n_near] <= bar)
    through = through[np.argsort(near[:n_near][through], kind="mergesort")]
    result = np.empty(min(len(through), most), np.int64)
    values, needs = np.empty(len(result), np.float32), np.empty(len(result), np.float32)
    seen = {np.int64(-1): 0}
    n = 0
    for at in through:
        above = near[at] - bar
        need = slack * above / (near[at] - lows[at]) if above > 0 else np.float32(0.0)
        if places[at] in seen:
            index = seen[places[at]]
            needs[index] = min(needs[index], need)
        elif n < len(result):
            seen[places[at]] = n
            result[n], values[n], needs[n] = places[at], near[at], need
            n += 1
    return result[:n].copy(), values[:n].copy(), needs[:n].copy(), int(codes)


@numba.njit(cache=True, nogil=True)
def replicate(
    near: Int32Array,
    apart: Float32Array,
    centroids: Float32Array,
    factor: np.float32,
    lists: Int32Array,
    distances: Float32Array,
) -> None:
    """See :mod:`cormorant.kernels.lists`."""
    for row in range(len(near)):
        lists[row, 0], distances[row, 0] = near[row, 0], apart[row, 0]
        taken = 1
        for column in range(1, near.shape[1]):
            number, distance = near[row, column], apart[row, column]
            if taken == lists.shape[1] or number < 0 or distance > factor * apart[row, 0]:
                break
            clear = True
            for other in range(taken):
                between = np.float32(0.0)
                for i in range(centroids.shape[1]):
                    difference = centroids[number, i] - centroids[lists[row, other], i]
                    between += difference * difference
                if between < distance:
                    clear = False
                    break
            if clear:
                lists[row, taken], distances[row, taken] = number, distance
                taken += 1


@numba.njit(cache=True, nogil=True)
def rearrange(rows: NDArray[np.uint8], order: Int64Array) -> None:
    """See :mod:`cormorant.kernels.lists`."""
    done = np.zeros(len(order), np.bool_)
    for start in range(len(order)):
        if done[start]:
            continue
        first = rows[start].copy()
        place = start
        while order[place] != start:
            done[place] = True
            rows[place] = rows[order[place]]
            place = order[place]
        done[place] = True
        rows[place] = first
