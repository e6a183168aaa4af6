"""Several ranked lists of the same queries laid side by side, and the best of what they sum to.

Every step works on a block of queries at once, of a size that stays in the processor's cache. Both
orders that are needed, of rows and of scores, come from sorting one integer per entry: the value in
its high bits and the entry's place in its low bits. That is several times faster than an argsort,
and equal values keep the order of their places, which is the order of their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contracts import Array, BoolArray, Float32Array, Int64Array
from ..errors import CormorantError
from ..ranking import NO_ROW, Ranking
from ..stages import RankedList

ENTRIES_AT_ONCE = 1 << 17

Float64Array = NDArray[np.float64]


class Candidates(NamedTuple):
    """Every row that one of the lists holds, once, for a block of queries.

    ``queries``: which of the batch. ``rows``: (n_queries, m) int64, ascending, then ``NO_ROW``.
    ``values``: (n_lists, n_queries, m) float32, what each list says of a row, NaN where it lacks
    the row.
    """

    queries: slice
    rows: Int64Array
    values: Float32Array

    @property
    def there(self) -> BoolArray:
        """Where there is a row: (n_queries, m) bool."""
        there: BoolArray = self.rows != NO_ROW
        return there


def check_lists(lists: Sequence[RankedList]) -> int:
    """The number of queries of all lists.

    Raises ``ValueError``: no list, or lists of different numbers of queries. Raises
    :class:`~cormorant.errors.CormorantError`, naming the index, for a score that is NaN or +inf:
    whichever place it were given, it would hide a defect.
    """
    if not lists:
        raise ValueError("a fusion needs at least one list")
    n_queries = lists[0].ranking.n_queries
    for item in lists:
        if item.ranking.n_queries != n_queries:
            raise ValueError(
                f"all lists answer the same queries, got {n_queries} of index {lists[0].index!r} "
                f"and {item.ranking.n_queries} of {item.index!r}"
            )
        check_scores(item.index, item.ranking.rows, item.ranking.scores)
    return n_queries


def check_scores(index: str, rows: Int64Array, scores: Float32Array) -> None:
    """Raises :class:`~cormorant.errors.CormorantError` for a score that is NaN or +inf."""
    wrong = ~(scores < np.inf) & (rows != NO_ROW)
    if np.any(wrong):
        query, place = np.argwhere(wrong)[0].tolist()
        raise CormorantError(
            f"index {index!r} gave the score {scores[query, place]} to row {rows[query, place]} "
            f"for query {query} of the batch; a score is a number below infinity"
        )


def side_by_side(
    lists: Sequence[RankedList], values: Sequence[Float32Array]
) -> Iterator[Candidates]:
    """The candidates of all queries, in blocks.

    ``values``: for each list (n_queries, depth) float32, of the rows at the same places. Raises
    :class:`~cormorant.errors.CormorantError`, naming the index, where a list holds a row twice.
    """
    n_queries = lists[0].ranking.n_queries
    width = sum(item.ranking.depth for item in lists)
    step = max(1, ENTRIES_AT_ONCE // max(1, width))
    for start in range(0, n_queries, step):
        yield _block(lists, values, slice(start, min(n_queries, start + step)))


def best(candidates: Candidates, scores: Float64Array, k: int) -> tuple[Int64Array, Float32Array]:
    """The k best candidates by score, of equal ones the lower row first: both (n_queries, k).

    ``scores``: (n_queries, m) float64, finite. They are compared as the float32 they become.
    """
    width = candidates.rows.shape[1]
    # Adding 0 turns -0 into 0, which has other bits and is the same score.
    single = scores.astype(np.float32) + np.float32(0)
    single[~candidates.there] = -np.inf
    bits = single.view(np.int32)
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = (~ascending).astype(np.int64) << 32 | np.arange(width)
    keys.sort(axis=1)
    places = keys[:, :k] & 0xFFFFFFFF
    result = Ranking.empty(len(single), k)
    result.rows[:, : places.shape[1]] = np.take_along_axis(candidates.rows, places, axis=1)
    result.scores[:, : places.shape[1]] = np.take_along_axis(single, places, axis=1)
    return result.rows, result.scores


def look_up(candidates: Candidates, values: Array, rows: Int64Array) -> Float32Array:
    """What ``values`` (n_lists, n_queries, m) hold for given rows; 0 for one that is no candidate.

    ``rows``: (n_queries, n) int64 -> (n_lists, n_queries, n) float32.
    """
    found = np.zeros((len(values), *rows.shape), np.float32)
    for query, wanted in enumerate(rows):
        known = candidates.rows[query][candidates.rows[query] != NO_ROW]
        places = np.searchsorted(known, wanted)
        hit = places < len(known)
        hit[hit] = known[places[hit]] == wanted[hit]
        found[:, query, hit] = values[:, query, places[hit]]
    return found


def gathered(blocks: Sequence[tuple[Int64Array, Float32Array]], flags: tuple[str, ...]) -> Ranking:
    """One ranking of the answers to all blocks of queries."""
    return Ranking(
        np.concatenate([rows for rows, _ in blocks]),
        np.concatenate([scores for _, scores in blocks]),
        flags,
    )


def _block(
    lists: Sequence[RankedList], values: Sequence[Float32Array], queries: slice
) -> Candidates:
    rows = np.concatenate([item.ranking.rows[queries] for item in lists], axis=1)
    given = np.concatenate([value[queries] for value in values], axis=1)
    list_of_place = np.repeat(np.arange(len(lists)), [item.ranking.depth for item in lists])
    n_queries, width = rows.shape
    bits = width.bit_length()
    nowhere = np.iinfo(np.int64).max >> bits  # NO_ROW goes last
    if rows.size and rows.max() >= nowhere:
        raise ValueError(f"rows are below {nowhere}, got {rows.max()}")
    keys = np.where(rows == NO_ROW, nowhere, rows) << bits | np.arange(width)
    keys.sort(axis=1)
    places = keys & ((1 << bits) - 1)
    keys >>= bits
    there = keys != nowhere
    new = there.copy()
    new[:, 1:] &= keys[:, 1:] != keys[:, :-1]
    sources = list_of_place[places]
    _check_no_row_twice(lists, keys, sources, new, there)

    slots = np.cumsum(new, axis=1, dtype=np.int64) - 1
    n_candidates = int(slots.max(initial=-1)) + 1
    united = np.full((n_queries, n_candidates), NO_ROW, np.int64)
    united[np.arange(n_candidates) <= slots[:, -1:]] = keys[new]
    aligned = np.full((len(lists), n_queries, n_candidates), np.nan, np.float32)
    slots += (np.arange(n_queries) * n_candidates)[:, None]
    slots += sources * (n_queries * n_candidates)
    aligned.reshape(-1)[slots[there]] = np.take_along_axis(given, places, axis=1)[there]
    return Candidates(queries, united, aligned)


def _check_no_row_twice(
    lists: Sequence[RankedList],
    rows: Int64Array,
    sources: Int64Array,
    new: BoolArray,
    there: BoolArray,
) -> None:
    """Entries of one row stand side by side, by their lists: no two of one list."""
    twice = ~new[:, 1:] & there[:, 1:] & (sources[:, 1:] == sources[:, :-1])
    if np.any(twice):
        query, place = np.argwhere(twice)[0].tolist()
        raise CormorantError(
            f"index {lists[sources[query, place]].index!r} ranks row {rows[query, place]} twice"
        )
