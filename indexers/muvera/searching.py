"""One segment's answer: candidates by the proxy, then exact MaxSim; or exact MaxSim alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...contracts import Allowed, Array, Int64Array
from ...kernels.maxsim import rescore, search
from ...ranking import NO_ROW, Ranking
from ...vectors import TokenVectors
from . import proxy, tuning
from .segment import TokenSegment, spread
from .settings import Muvera
from .threads import threads

_WORTH_IT = 2
"""The proxy must spare at least this factor of documents, or all are scored exactly."""


class Asked(NamedTuple):
    """Queries of the index's width, and the proxy's view of them where a segment needs it."""

    tokens: TokenVectors
    codes: Array | None


def best(
    segment: TokenSegment, settings: Muvera, asked: Asked, k: int, allowed: Allowed
) -> tuple[Ranking, float]:
    """The k best allowed rows of each query, and the recall measured for this effort."""
    passing = segment.passing(allowed)
    n = len(asked.tokens)
    if segment.tokens is None:
        return _of_empty(segment, passing.places, n, k), 1.0
    if not has_proxy(segment, settings) or asked.codes is None:
        return _exhaustive(segment, asked.tokens, k, passing.places), 1.0
    measured = segment.summary["proxy"]["measured"]
    classes = tuning.class_of(np.diff(asked.tokens.starts))
    result, reached = Ranking.empty(n, k), 1.0
    for number in np.unique(classes).tolist():
        own = np.flatnonzero(classes == number)
        queries = _taken(asked.tokens, own)
        effort = tuning.effort_for(measured, number, k, settings.target_recall, settings.candidates)
        if effort.candidates * _WORTH_IT >= passing.size:
            found = _exhaustive(segment, queries, k, passing.places)
        else:
            reached = min(reached, effort.recall)
            found = _by_proxy(
                segment, queries, asked.codes[own], effort.candidates, k, passing.places
            )
        result.rows[own, : found.depth] = found.rows
        result.scores[own, : found.depth] = found.scores
    return result, reached


def has_proxy(segment: TokenSegment, settings: Muvera) -> bool:
    """Whether a segment is searched through its proxy."""
    return segment.codes is not None and settings.target_recall is not None


def effort_of(segment: TokenSegment, settings: Muvera, k: int) -> tuning.Effort | None:
    """Enough candidates for the k best of any query; None: searched exhaustively."""
    if not has_proxy(segment, settings):
        return None
    measured = segment.summary["proxy"]["measured"]
    return tuning.effort_of_all(measured, k, settings.target_recall, settings.candidates)


def _taken(queries: TokenVectors, numbers: Int64Array) -> TokenVectors:
    """Some of the queries."""
    starts = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(np.diff(queries.starts)[numbers], out=starts[1:])
    return TokenVectors(starts, queries.vectors[spread(queries.starts, numbers)])


def _by_proxy(
    segment: TokenSegment,
    queries: TokenVectors,
    codes: Array,
    candidates: int,
    k: int,
    passing: Int64Array | None,
) -> Ranking:
    assert segment.codes is not None and segment.code_scales is not None
    places = proxy.best(segment.codes, segment.code_scales, codes, candidates, passing)
    return _rescored(segment, queries, places, k)


def _exhaustive(
    segment: TokenSegment, queries: TokenVectors, k: int, places: Int64Array | None
) -> Ranking:
    """Exact MaxSim of every row that may be found."""
    assert segment.tokens is not None
    if places is not None and len(places) * 4 < len(segment.rows):
        return _rescored(segment, queries, np.tile(places, (len(queries), 1)), k)
    mask = None
    if places is not None:
        mask = np.zeros(len(segment.rows), np.bool_)
        mask[places] = True
    found = search(queries, segment.tokens, min(k, len(segment.rows)), mask, threads=threads())
    rows = np.where(found.places >= 0, segment.rows[found.places], NO_ROW)
    return Ranking(rows, found.scores)


def _rescored(segment: TokenSegment, queries: TokenVectors, places: Int64Array, k: int) -> Ranking:
    """The k best of candidates (n_queries, m), -1 for none, by exact MaxSim."""
    assert segment.tokens is not None
    starts = np.arange(len(places) + 1, dtype=np.int64) * places.shape[1]
    scores = rescore(queries, segment.tokens, places.ravel(), starts, threads=threads())
    scores = scores.reshape(places.shape)
    rows = np.where(places >= 0, segment.rows[places], NO_ROW)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Ranking(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def _of_empty(segment: TokenSegment, places: Int64Array | None, n: int, k: int) -> Ranking:
    """A segment none of whose texts has a token: each scores 0."""
    rows = (segment.rows if places is None else segment.rows[places])[:k]
    return Ranking(np.tile(rows, (n, 1)), np.zeros((n, len(rows)), np.float32))
