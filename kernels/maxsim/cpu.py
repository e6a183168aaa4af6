"""The CPU version: float32 tiles in registers, a heap for each query, documents shared by threads.

Queries that are asked together stand side by side, as columns of one tile, as many as stay in a
core's second cache; so a document is read once for all of them. Narrow vectors are widened a tile
at a time, in the first cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array
from ...ranking import Ranking
from ...vectors import TokenVectors
from ..bm25.heaps import sort_best_first
from ..bm25.layout import Best as Heaps
from .documents import Asked, Held, score_all, score_some, scratch_rows, search_all
from .tiles import packed, rows_at_once
from .tokens import Best, Residual, Tokens

_COLUMN_BYTES = 1 << 18
"""How much of a core's second cache the queries that are asked together may take."""
SHARE = 256
"""Documents below which another thread is not worth its start."""


class Room(NamedTuple):
    """What one thread needs; keeps the arrays that addresses point to."""

    held: Held
    asked: Asked
    arrays: tuple[Float32Array, ...]


def room_for(tokens: Tokens, columns: Float32Array) -> Room:
    """Addresses of tokens and of packed columns, and room for a thread's own work."""
    scratch = np.empty(scratch_rows() * tokens.dim, np.float32)
    best = np.empty(columns.shape[0] * columns.shape[2], np.float32)
    held = Held(
        tokens.vectors.ctypes.data,
        tokens.vectors.strides[0],
        tokens.kind,
        tokens.dim,
        tokens.starts.ctypes.data,
        0 if tokens.scales is None else tokens.scales.ctypes.data,
        0 if tokens.mask is None else tokens.mask.ctypes.data,
        rows_at_once(),
        scratch.ctypes.data,
        *_addresses(tokens.residual),
    )
    asked = Asked(columns.ctypes.data, len(columns), best.ctypes.data)
    return Room(held, asked, (columns, scratch, best))


def _addresses(residual: Residual | None) -> tuple[int, int, int]:
    if residual is None:
        return 0, 0, 0
    _, owners, centroids, scales = residual
    return owners.ctypes.data, centroids.ctypes.data, scales.ctypes.data


def batches(queries: TokenVectors) -> Iterator[tuple[int, int]]:
    """Queries to ask together: from, to."""
    most = max(32, _COLUMN_BYTES // (4 * queries.vectors.shape[1]))
    first = 0
    while first < len(queries):
        last = first + 1
        start = queries.starts[first]
        while last < len(queries) and queries.starts[last + 1] - start <= most:
            last += 1
        yield first, last
        first = last


def shares(n: int, threads: int, least: int = SHARE) -> list[tuple[int, int]]:
    """Cut n things into as many stretches as threads are worth it, of ``least`` or more each."""
    parts = max(1, min(threads, n // least))
    cuts = [n * part // parts for part in range(parts + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def run(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks side by side; the loops in them let go of Python's lock."""
    if len(tasks) == 1:
        tasks[0]()
        return
    with ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def _asked(queries: TokenVectors, first: int, last: int) -> tuple[Float32Array, Int64Array]:
    """Packed columns of the queries first to last, and which columns are whose."""
    start = queries.starts[first]
    columns = packed(queries.vectors[start : queries.starts[last]])
    return columns, queries.starts[first : last + 1] - start


def score(queries: TokenVectors, tokens: Tokens, threads: int) -> Float32Array:
    """See :mod:`cormorant.kernels.maxsim`."""
    scores = np.zeros((len(queries), tokens.n_documents), np.float32)
    for first, last in batches(queries):
        columns, whose = _asked(queries, first, last)
        rooms = [room_for(tokens, columns) for _ in range(threads)]

        def task(
            room: Room, begin: int, end: int, out: Float32Array, whose: Int64Array = whose
        ) -> Callable[[], object]:
            return lambda: score_all(room.held, room.asked, whose, begin, end, out)

        cuts = shares(tokens.n_documents, threads)
        run([
            task(room, begin, end, scores[first:last])
            for room, (begin, end) in zip(rooms, cuts, strict=False)
        ])  # fmt: skip
    return scores


def search(
    queries: TokenVectors, tokens: Tokens, k: int, allowed: BoolArray | None, threads: int
) -> Best:
    """See :mod:`cormorant.kernels.maxsim`."""
    through = np.zeros(0, np.bool_) if allowed is None else allowed
    depth = min(k, tokens.n_documents)
    places: Int64Array = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    if depth == 0 or len(queries) == 0:
        return Best(places, scores)
    for first, last in batches(queries):
        columns, whose = _asked(queries, first, last)
        heaps = [
            _search_share(tokens, columns, whose, through, begin, end, depth)
            for begin, end in shares(tokens.n_documents, threads)
        ]
        run([task for _, task in heaps])
        for heap, _ in heaps:
            sort_best_first(heap)
        merged = Ranking.merge([Ranking(heap.rows, heap.scores) for heap, _ in heaps], depth)
        places[first:last, :depth], scores[first:last, :depth] = merged.rows, merged.scores
    return Best(places, scores)


def _search_share(
    tokens: Tokens,
    columns: Float32Array,
    whose: Int64Array,
    through: BoolArray,
    begin: int,
    end: int,
    depth: int,
) -> tuple[Heaps, Callable[[], object]]:
    n = len(whose) - 1
    heaps = Heaps(
        np.full((n, depth), -1, np.int64),
        np.full((n, depth), -np.inf, np.float32),
        np.zeros(n, np.int64),
    )
    room = room_for(tokens, columns)
    return heaps, lambda: search_all(
        room.held, room.asked, whose, through, begin, end,
        heaps.rows, heaps.scores, heaps.sizes,
    )  # fmt: skip


def rescore(
    queries: TokenVectors, tokens: Tokens, places: Int64Array, starts: Int64Array, threads: int
) -> Float32Array:
    """See :mod:`cormorant.kernels.maxsim`."""
    scores = np.zeros(len(places), np.float32)
    for number in range(len(queries)):
        columns, whose = _asked(queries, number, number + 1)
        cuts = shares(starts[number + 1] - starts[number], threads)

        def task(
            begin: int,
            end: int,
            first: int = starts[number],
            width: int = whose[1],
            columns: Float32Array = columns,
        ) -> Callable[[], object]:
            room = room_for(tokens, columns)
            return lambda: score_some(
                room.held, room.asked, width, places, first + begin, first + end,
                scores,
            )  # fmt: skip

        run([task(begin, end) for begin, end in cuts])
    return scores
