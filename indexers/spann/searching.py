"""One segment's answer: lists, codes, and the few vectors that are read and scored exactly."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.lists import Rule, Survivors, choose, survivors
from ...ranking import NO_ROW
from ..dense.segment import Passing
from .segment import SpannSegment, View
from .threads import threads
from .tracing import Trace
from .tuning import Effort, most_survivors

Scores = Callable[[Float32Array, Float32Array, Int64Array], Float32Array]
"""(queries, vectors, places) -> scores, as :mod:`cormorant.kernels.dots`."""

_BLOCK = 64
"""Queries that share their reads."""
_FEW_QUERIES = 8
"""So many are searched without further threads."""
_FEW_ROWS = 64
"""So few rows are read and scored at once, whatever stands in lists."""

Int32Array = NDArray[np.int32]
T = TypeVar("T")
S = TypeVar("S")


def best(
    segment: SpannSegment,
    queries: Float32Array,
    k: int,
    passing: Passing,
    effort: Effort,
    scores_of: Scores,
    trace: Trace,
) -> tuple[Int64Array, Float32Array]:
    """Places (n_queries, m) of vectors to choose from, -1 for none, and their true scores."""
    if passing.size == 0:
        empty = np.full((len(queries), 0), NO_ROW, np.int64)
        return empty, np.zeros(empty.shape, np.float32)
    places = [
        _candidates(segment, queries[first : first + _BLOCK], k, passing, effort, trace)
        for first in range(0, len(queries), _BLOCK)
    ]
    parts = []
    for number, rows in enumerate(places):
        asked = queries[number * _BLOCK : number * _BLOCK + len(rows)]
        parts.append(_scored(segment, asked, rows, scores_of, trace))
    if len(parts) == 1:
        return parts[0]
    width = max((part[0].shape[1] for part in parts), default=0)
    all_places = np.full((len(queries), width), NO_ROW, np.int64)
    all_scores = np.full((len(queries), width), -np.inf, np.float32)
    for number, (found, scores) in enumerate(parts):
        first = number * _BLOCK
        all_places[first : first + len(found), : found.shape[1]] = found
        all_scores[first : first + len(found), : found.shape[1]] = scores
    return all_places, all_scores


def _candidates(
    segment: SpannSegment,
    queries: Float32Array,
    k: int,
    passing: Passing,
    effort: Effort,
    trace: Trace,
) -> list[Int64Array]:
    """For each query the places whose vectors have to be read."""
    if passing.size <= max(_FEW_ROWS, k):
        allowed = passing.places
        few = np.arange(len(segment.rows)) if allowed is None else allowed
        trace.vectors += len(few) * len(queries)
        return [few] * len(queries)
    asked = segment.space.of_queries(queries, segment.signs)
    found = _found(segment, asked, k, k, passing, effort, trace, ahead=len(asked) > 1)
    trace.vectors += sum(map(len, found))
    return found


def nearest(
    segment: SpannSegment,
    asked: Float32Array,
    k: int,
    length: int,
    passing: Passing,
    lists: int,
    trace: Trace,
) -> list[Int64Array]:
    """For each query, in the lists' space, the ``length`` places nearest by codes, nearest first.

    Of those in the ``lists`` nearest lists; in further ones only where these hold fewer than k, so
    that a longer answer begins with a shorter one's. No vector is read.
    """
    effort = Effort(float("inf"), lists, 0.0, 1.0)
    found = _found(segment, asked, k, length, passing, effort, trace, ahead=False)
    return [places[:length] for places in found]


def _found(
    segment: SpannSegment,
    asked: Float32Array,
    k: int,
    wanted: int,
    passing: Passing,
    effort: Effort,
    trace: Trace,
    *,
    ahead: bool,
) -> list[Int64Array]:
    """Places that may be among the ``wanted`` nearest, k at least where so many pass.

    ``ahead``: the reading of a query's vectors begins while other queries' codes are looked at.
    """
    view = segment.view(passing)
    found = _through(segment, asked, k, wanted, view, effort, trace, ahead)
    short = [i for i, one in enumerate(found) if len(one.places) < min(k, passing.size)]
    if short:  # copies or a filter left too little: every list
        every = effort._replace(eps2=float("inf"), most=len(segment.sizes))
        wider = _through(segment, asked[short], k, wanted, view, every, trace, ahead)
        for i, one in zip(short, wider, strict=True):
            found[i] = one
    return [one.places for one in found]


def _through(
    segment: SpannSegment,
    asked: Float32Array,
    k: int,
    wanted: int,
    view: View,
    effort: Effort,
    trace: Trace,
    ahead: bool,
) -> list[Survivors]:
    lists = segment.lists
    assert lists is not None
    rule = Rule(effort.eps2, segment.summary["spann"]["radius"], effort.most, k)
    with trace.timed("postings_chosen"):
        chosen = _mapped(lambda query: choose(lists, query, rule, view.counts), asked)
    for query, own in zip(asked, chosen, strict=True):
        trace.note_lists(lists, query, rule, own, view.counts)
    pages, spans = segment.posting_pages, np.empty((0, 2), np.int64)
    assert pages is not None
    numbers = chosen[0] if len(chosen) == 1 else np.unique(np.concatenate(chosen))
    elsewhere = numbers[:0] if segment.all_kept else numbers[lists.slots[numbers] < 0]
    trace.kept += len(numbers) - len(elsewhere)
    if len(elsewhere):
        order = elsewhere[np.argsort(lists.offsets[elsewhere])]
        spans = pages.spans(lists.offsets[order], segment.sizes[order])
        trace.note_pages(spans)
        with trace.timed("postings_begun"):
            pages.ahead(spans)
            pages.wait(spans)
    limit = most_survivors(wanted)

    def scan(pair: tuple[Float32Array, Int32Array]) -> Survivors:
        left = survivors(lists, *pair, wanted, effort.slack, limit, view.mask)
        if ahead:
            begin(segment, left.places)
        return left

    with trace.timed("codes_scanned"):
        found = _mapped(scan, list(zip(asked, chosen, strict=True)))
    pages.done(spans)
    trace.codes += sum(one.codes for one in found)
    return found


def _scored(
    segment: SpannSegment,
    queries: Float32Array,
    rows: list[Int64Array],
    scores_of: Scores,
    trace: Trace,
) -> tuple[Int64Array, Float32Array]:
    """Read each vector once, whichever of the queries wants it, and score it for those that do."""
    if len(rows) == 1:  # a query's places are distinct
        places, wanted, inside = rows[0][None], rows[0], np.arange(len(rows[0]))[None]
    else:
        places = np.full((len(rows), max(map(len, rows))), NO_ROW, np.int64)
        for number, row in enumerate(rows):
            places[number, : len(row)] = row
        wanted, inside = distinct(places)
    with trace.timed("vectors_read"):
        vectors = read(segment, wanted, trace)
    with trace.timed("scored"):
        return places, scores_of(queries, vectors, inside)


def distinct(places: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The places there are, each once, and where each of ``places`` is among them, -1 for none."""
    wanted = np.unique(places)
    wanted = wanted[wanted >= 0]
    return wanted, np.where(places >= 0, np.searchsorted(wanted, places), NO_ROW)


def begin(segment: SpannSegment, places: Int64Array) -> None:
    """Begin to read the vectors of places."""
    segment.vector_pages.begin(segment.slots_at(places))


def read(segment: SpannSegment, places: Int64Array, trace: Trace | None = None) -> Float32Array:
    """The vectors of places, copied."""
    pages, at = segment.vector_pages, segment.slots_at(places)
    told = pages.begin(at)
    if trace is not None:
        trace.bytes_read += told
    return pages.rows(at).astype(np.float32, copy=False)


def _mapped(work: Callable[[S], T], items: NDArray[np.float32] | list[S]) -> list[T]:
    """Work on each item, with threads where there are many."""
    if len(items) < _FEW_QUERIES or threads() == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(work, items))
