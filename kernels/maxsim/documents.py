"""From tiles to documents, in numba: the greatest similarities, their sum, and the k best.

Arrays come as addresses, so that the compiler sees one type whether an array is float32 or int8,
in memory or mapped, read-only or not. Whoever calls holds the arrays meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ...contracts import BoolArray, Float32Array, Int64Array
from ..bm25.heaps import push
from ..bm25.lanes import pointer
from .expanding import expand_four, expand_two
from .tiles import (
    MOST_ROWS,
    float32_at,
    greatest_of_one,
    greatest_of_two,
    int64_at,
    products_of_one,
    products_of_two,
)
from .widening import fetch, float_at, is_true, widen, word_at


class Held(NamedTuple):
    """Stored tokens as the loops below see them: addresses, or 0 where there is no such array.

    ``stride``: bytes from token to token; ``kind``: see ``tokens.KINDS``; ``at_once``: rows of a
    tile; ``scratch``: room for that many widened tokens; ``owners`` and the two after it: of
    residual codes.
    """

    vectors: int
    stride: int
    kind: int
    dim: int
    starts: int
    scales: int
    mask: int
    at_once: int
    scratch: int
    owners: int
    centroids: int
    centroid_scales: int


class Asked(NamedTuple):
    """The tokens of some queries, side by side in groups of 16; ``best``: room for a float each."""

    groups: int
    n_groups: int
    best: int


@njit(nogil=True, cache=True)
def widen_token(held: Held, token: int, target: int) -> None:
    """One stored vector as float32 at an address."""
    scale = float_at(held.scales, token) if held.scales != 0 else np.float32(1.0)
    source = held.vectors + token * held.stride
    if held.kind < 4:
        widen(held.kind, source, held.dim, scale, target)
        return
    owner = word_at(held.owners, token)
    centroid = held.centroids + owner * held.dim
    centroid_scale = float_at(held.centroid_scales, owner)
    if held.kind == 4:
        expand_two(source, held.dim, scale, centroid, centroid_scale, target)
    else:
        expand_four(source, held.dim, scale, centroid, centroid_scale, target)


@njit(nogil=True, cache=True)
def greatest(n_rows: int, dim: int, asked: Asked, rows: int, stride: int) -> None:
    """Raise each query token's best by some rows, float32 at an address."""
    size = 64 * dim
    group = 0
    while group + 2 <= asked.n_groups:
        greatest_of_two(
            n_rows, dim, float32_at(asked.groups + group * size), float32_at(rows), stride,
            float32_at(asked.best + group * 64), 0,
        )  # fmt: skip
        group += 2
    if group < asked.n_groups:
        greatest_of_one(
            n_rows, dim, float32_at(asked.groups + group * size), float32_at(rows), stride,
            float32_at(asked.best + group * 64), 0,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def multiply(
    n_rows: int, dim: int, groups: int, n_groups: int, rows: int, stride: int, out: int
) -> None:
    """All products of some rows, float32 at an address: (n_rows, n_groups * 16) at another."""
    size = 64 * dim
    group = 0
    while group + 2 <= n_groups:
        products_of_two(
            n_rows, dim, float32_at(groups + group * size), float32_at(rows), stride,
            float32_at(out + group * 64), 16 * n_groups,
        )  # fmt: skip
        group += 2
    if group < n_groups:
        products_of_one(
            n_rows, dim, float32_at(groups + group * size), float32_at(rows), stride,
            float32_at(out + group * 64), 16 * n_groups,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def best_of(held: Held, asked: Asked, first: int, last: int, ahead: int, until: int) -> int:
    """Each query token's greatest similarity with the tokens first to last; how many count.

    While these are widened, the tokens ``ahead`` to ``until`` are fetched from memory.
    """
    for i in range(16 * asked.n_groups):
        float32_at(asked.best)[i] = -np.inf
    n = last - first
    if held.mask != 0:
        n = 0
        for token in range(first, last):
            n += is_true(held.mask, token)
    if n == 0:
        return 0
    n_tiles = (n + held.at_once - 1) // held.at_once
    size = (n + n_tiles - 1) // n_tiles  # all tiles alike: a short one would waste half its time
    if held.kind == 0 and held.mask == 0:
        for token in range(first, last, size):
            rows = held.vectors + token * held.stride
            greatest(min(size, last - token), held.dim, asked, rows, held.stride // 4)
        return n
    filled = 0
    for token in range(first, last):
        if held.mask != 0 and not is_true(held.mask, token):
            continue
        if ahead < until:
            for byte in range(0, held.stride, 64):
                fetch(held.vectors + ahead * held.stride + byte)
            ahead += 1
        widen_token(held, token, held.scratch + filled * held.dim * 4)
        filled += 1
        if filled == size:
            greatest(filled, held.dim, asked, held.scratch, held.dim)
            filled = 0
    if filled > 0:
        greatest(filled, held.dim, asked, held.scratch, held.dim)
    return n


@njit(nogil=True, cache=True)
def sum_of(asked: Asked, first: int, last: int) -> np.float32:
    """The greatest similarities of one query's tokens, added up."""
    total = 0.0
    for i in range(first, last):
        total += np.float64(float32_at(asked.best)[i])
    return np.float32(-np.inf) if np.isnan(total) else np.float32(total)


@njit(nogil=True, cache=True)
def score_all(
    held: Held,
    asked: Asked,
    columns: Int64Array,
    begin: int,
    end: int,
    scores: Float32Array,
) -> None:
    """Scores (n_queries, n_documents) of the documents begin to end."""
    starts = int64_at(held.starts)
    for place in range(begin, end):
        n = best_of(held, asked, starts[place], starts[place + 1], 0, 0)
        for query in range(len(columns) - 1):
            if n > 0:
                scores[query, place] = sum_of(asked, columns[query], columns[query + 1])
            else:
                scores[query, place] = 0.0


@njit(nogil=True, cache=True)
def search_all(
    held: Held,
    asked: Asked,
    columns: Int64Array,
    allowed: BoolArray,
    begin: int,
    end: int,
    places: Int64Array,
    scores: Float32Array,
    sizes: Int64Array,
) -> None:
    """Push the allowed documents begin to end onto heaps (n_queries, k)."""
    starts = int64_at(held.starts)
    k = places.shape[1]
    for place in range(begin, end):
        if len(allowed) > 0 and not allowed[place]:
            continue
        n = best_of(held, asked, starts[place], starts[place + 1], 0, 0)
        for query in range(len(columns) - 1):
            score = np.float32(0.0)
            if n > 0:
                score = sum_of(asked, columns[query], columns[query + 1])
            sizes[query] = push(
                pointer(scores, query * k),
                pointer(places, query * k),
                sizes[query],
                k,
                score,
                place,
            )


@njit(nogil=True, cache=True)
def score_some(
    held: Held,
    asked: Asked,
    width: int,
    places: Int64Array,
    begin: int,
    end: int,
    scores: Float32Array,
) -> None:
    """Scores of one query's candidates begin to end; -inf where the place is -1."""
    starts = int64_at(held.starts)
    for i in range(begin, end):
        place = places[i]
        if place < 0:
            scores[i] = -np.inf
            continue
        following = places[i + 1] if i + 1 < end else -1
        ahead = starts[following] if following >= 0 else 0
        until = starts[following + 1] if following >= 0 else 0
        if best_of(held, asked, starts[place], starts[place + 1], ahead, until) > 0:
            scores[i] = sum_of(asked, 0, width)
        else:
            scores[i] = 0.0


@njit(nogil=True, cache=True)
def align_some(
    held: Held,
    groups: int,
    n_groups: int,
    width: int,
    places: Int64Array,
    begin: int,
    end: int,
    products: Float32Array,
    tokens: Int64Array,
    similarities: Float32Array,
    out: int,
) -> None:
    """Of each candidate begin to end, which token each query token's greatest similarity is with.

    Written from ``out`` on, ``width`` for each candidate.
    """
    starts = int64_at(held.starts)
    for i in range(begin, end):
        row = out + (i - begin) * width
        for column in range(width):
            tokens[row + column] = -1
            similarities[row + column] = -np.inf
        if places[i] < 0:
            continue
        first = starts[places[i]]
        for token in range(first, starts[places[i] + 1]):
            if held.mask != 0 and not is_true(held.mask, token):
                continue
            widen_token(held, token, held.scratch)
            multiply(1, held.dim, groups, n_groups, held.scratch, held.dim, products.ctypes.data)
            for column in range(width):
                if products[column] > similarities[row + column]:
                    similarities[row + column] = products[column]
                    tokens[row + column] = token - first


def scratch_rows() -> int:
    """How many widened tokens a tile may need room for."""
    return MOST_ROWS
