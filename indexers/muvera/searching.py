"""One segment's answer: candidates by the proxy, then exact MaxSim; or exact MaxSim alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Allowed, Array, Float32Array, Int64Array
from ...kernels.maxsim import Tokens, rescore, search
from ...ranking import NO_ROW, Ranking
from ...vectors import TokenVectors
from ..dense.segment import Passing
from ..spann.tracing import Trace
from . import lists, proxy, tuning
from .coded import Tabled
from .patience import walked
from .segment import TokenSegment
from .settings import Muvera
from .threads import threads

if TYPE_CHECKING:
    from ...kernels.maxsim.gpu import DeviceTokens

_WORTH_IT = 2
"""The proxy must spare at least this factor of documents, or all are scored exactly."""
_QUERIES = 64
"""Queries that go through the proxy together,"""
_MOST_LISTED = 1 << 22
"""as long as their lists have no more places than this."""
_FEW = 4
"""Where less than one row in so many passes, these are listed for a query that comes alone (of
20,000 rows a fifth: 3.6 ms, and 4.6 in a pass over all; for two queries 7.0 and 5.8), and for a
device, which would score all rows,"""
_PAIRS = 1 << 20
"""so many pairs of a query and a row at a time."""
_LONGER = 4
"""Times what a search took on samples on average: how long a list is made, and made longer."""


class Asked(NamedTuple):
    """Queries of the index's width, and the proxy's view of them where a segment needs it."""

    tokens: TokenVectors
    codes: Array | Tabled | None


def best(
    segment: TokenSegment, settings: Muvera, asked: Asked, k: int, allowed: Allowed
) -> tuple[Ranking, float | None]:
    """The k best allowed rows of each query, and the recall measured for it; None: exhaustive."""
    passing = segment.passing(allowed)
    n = len(asked.tokens)
    if segment.tokens is None:
        return _of_empty(segment, passing.places, n, k), None
    effort = effort_of(segment, settings, k, passing.size)
    if effort is None or asked.codes is None:
        return _exhaustive(segment, asked.tokens, k, passing), None
    result = Ranking.empty(n, k)
    step = max(1, min(_QUERIES, _MOST_LISTED // (effort.candidates * _LONGER)))
    for first in range(0, n, step):
        own = slice(first, first + step)
        some = Asked(asked.tokens[own], asked.codes[own])
        if effort.patience is None:
            places = _listed(segment, some.codes, effort, k, effort.candidates, passing)
            found = _rescored(segment, some.tokens, places, k)
        else:
            found = _patiently(segment, some, effort, k, passing)
        result.rows[own, : found.depth] = found.rows
        result.scores[own, : found.depth] = found.scores
    return result, effort.recall


def effort_of(segment: TokenSegment, settings: Muvera, k: int, size: int) -> tuning.Effort | None:
    """How far to go for the k best of ``size`` rows; None: searched exhaustively."""
    if segment.codes is None or settings.target_recall is None:
        return None
    effort = tuning.effort_for(segment.summary["proxy"]["measured"], k)
    return None if effort.candidates * _WORTH_IT >= size else effort


def standing(
    segment: TokenSegment,
    query: TokenVectors,
    effort: tuning.Effort,
    k: int,
    places: Int64Array,
    passing: Passing,
    trace: Trace,
) -> list[int | None]:
    """Where places stand among the candidates for one query, from 1; None: nowhere."""
    assert segment.proxy is not None
    codes = segment.proxy.queries(query)
    listed = _listed(segment, codes, effort, k, passing.size, passing, trace)[0]
    found = [np.flatnonzero(listed == place) for place in places]
    return [int(where[0]) + 1 if len(where) else None for where in found]


def _listed(
    segment: TokenSegment,
    codes: Array | Tabled | None,
    effort: tuning.Effort,
    k: int,
    length: int,
    passing: Passing,
    trace: Trace | None = None,
) -> Int64Array:
    """The first candidates for each query, likeliest first: (n_queries, length) int64."""
    assert segment.codes is not None and segment.code_scales is not None and codes is not None
    if segment.listed is not None and effort.lists is not None:
        assert not isinstance(codes, Tabled)  # settings refuse it
        work = trace or Trace()
        return lists.best(segment.listed, codes, k, length, passing, effort.lists, work)
    return proxy.best(segment.codes, segment.code_scales, codes, length, passing.places)


def _patiently(
    segment: TokenSegment, asked: Asked, effort: tuning.Effort, k: int, passing: Passing
) -> Ranking:
    """Down each query's list until it may stop; lists that were too short are made longer.

    For fewer than the least of ``DEPTHS`` it goes as far as for these, on which patience was
    measured: what is best does not depend on how many are asked for.
    """
    held, patience, goal = segment.tokens, effort.patience, max(k, tuning.DEPTHS[0])
    assert held is not None and patience is not None and asked.codes is not None
    n = len(asked.tokens)
    scores = [np.zeros(0, np.float32) for _ in range(n)]
    found = [np.zeros(0, np.int64) for _ in range(n)]
    left, length = list(range(n)), effort.candidates
    with ThreadPoolExecutor(threads()) as pool:
        while left:
            length = min(length * _LONGER, passing.size)
            inner = max(1, threads() // len(left))
            for number, listed in zip(
                left,
                _listed(segment, asked.codes[left], effort, goal, length, passing),
                strict=True,
            ):
                found[number] = listed[listed >= 0]

            def walk(number: int, inner: int = inner) -> Float32Array:
                query, listed = asked.tokens[number : number + 1], found[number]

                def scored(first: int, last: int) -> Float32Array:
                    starts = np.array([0, last - first], np.int64)
                    return rescore(query, held, listed[first:last], starts, threads=inner)

                return walked(scored, scores[number], len(listed), goal, patience)

            for number, own in zip(left, pool.map(walk, left), strict=True):
                scores[number] = own
            left = [number for number in left if len(scores[number]) == length < passing.size]
    result = Ranking.empty(n, k)
    for number, own in enumerate(scores):
        ranked = _ordered(segment, found[number][None, : len(own)], own[None], k)
        result.rows[number, : ranked.depth] = ranked.rows[0]
        result.scores[number, : ranked.depth] = ranked.scores[0]
    return result


def _exhaustive(segment: TokenSegment, queries: TokenVectors, k: int, passing: Passing) -> Ranking:
    """Exact MaxSim of every row that may be found, in one pass for many queries."""
    assert segment.tokens is not None
    placed, depth = segment.placed(), min(k, passing.size)
    few = passing.size * _FEW < len(segment.rows)
    if placed is not segment.tokens:  # a device adds in another order: the scores are those here
        if few:
            places = _best_of_few(queries, placed, passing, depth)
        else:
            places = search(queries, placed, depth, passing.mask, threads=threads()).places
        return _rescored(segment, queries, places, k)
    if few and len(queries) == 1 and passing.places is not None:
        return _rescored(segment, queries, passing.places[None], k)
    tokens, mask, first = segment.tokens, passing.mask, 0
    if mask is not None:  # threads share out the stretch in which any passes
        first, last = int(mask.argmax()), len(mask) - int(mask[::-1].argmax())
        tokens, mask = tokens._replace(starts=tokens.starts[first : last + 1]), mask[first:last]
    found = search(queries, tokens, depth, mask, threads=threads())
    rows = np.where(found.places >= 0, segment.rows[first:][found.places], NO_ROW)
    return Ranking(rows, found.scores)


def _best_of_few(
    queries: TokenVectors, placed: Tokens | DeviceTokens, passing: Passing, depth: int
) -> Int64Array:
    """The best places where few pass, a few queries at a time: (n_queries, depth) int64."""
    assert passing.places is not None
    places, found = passing.places, np.empty((len(queries), depth), np.int64)
    step = max(1, _PAIRS // max(1, len(places)))
    for first in range(0, len(queries), step):
        own = queries[first : first + step]
        starts = np.arange(len(own) + 1, dtype=np.int64) * len(places)
        scores = rescore(own, placed, np.tile(places, len(own)), starts, threads=threads())
        order = np.argsort(-scores.reshape(len(own), len(places)), axis=1, kind="stable")
        found[first : first + step] = places[order[:, :depth]]
    return found


def _rescored(segment: TokenSegment, queries: TokenVectors, places: Int64Array, k: int) -> Ranking:
    """The k best of candidates (n_queries, m), -1 for none, by exact MaxSim."""
    assert segment.tokens is not None
    starts = np.arange(len(places) + 1, dtype=np.int64) * places.shape[1]
    scores = rescore(queries, segment.tokens, places.ravel(), starts, threads=threads())
    return _ordered(segment, places, scores.reshape(places.shape), k)


def _ordered(segment: TokenSegment, places: Int64Array, scores: Float32Array, k: int) -> Ranking:
    """The k best of scored places, (n_queries, m) each."""
    rows = np.where(places >= 0, segment.rows[places], NO_ROW)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Ranking(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def _of_empty(segment: TokenSegment, places: Int64Array | None, n: int, k: int) -> Ranking:
    """A segment none of whose texts has a token: each scores 0."""
    rows = (segment.rows if places is None else segment.rows[places])[:k]
    return Ranking(np.tile(rows, (n, 1)), np.zeros((n, len(rows)), np.float32))
