"""Reranking: each stage of a pipeline on the head of the order so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..contracts import Int64Array
from ..errors import (
    CormorantError,
    DeadlineError,
    InputError,
    ShardUnavailableError,
    StorageError,
)
from ..rankers.norms import normalised
from ..rankers.stage import Stage, as_stage
from ..ranking import NO_ROW, Ranking
from ..stages import Budget, Ranker

if TYPE_CHECKING:
    from .search import Search

Float64Array = NDArray[np.float64]

_NEVER_KEPT = (InputError, StorageError, DeadlineError, ShardUnavailableError)
"""What the caller, the disk, the clock or a shard did: no order is kept over it."""
_STEP = 1e-6
"""Between scores made up for rows without one, relative: more than the rounding of float32."""


def rerank(
    search: Search, ranker: Ranker | Stage, texts: Sequence[str], ranking: Ranking
) -> Ranking:
    """The order after a stage; its rank and score of each row are kept for explanations."""
    stage = as_stage(ranker)
    step = f"rerank.{stage.name}"
    if search.deadline.passed(step):
        return ranking
    head = ranking.cut(stage.depth)
    budget = search.deadline.budget.within(stage.budget or Budget())
    with search.timed(step):
        try:
            ranked = stage.ranker.rank(search.candidates(texts, head), budget)
            check_answer(ranked, head, stage.name)
            if stage.prior_weight:
                ranked = with_prior(ranked, head, stage.prior_weight)
        except Exception as error:
            if stage.on_error == "raise" or isinstance(error, _NEVER_KEPT):
                raise
            reason = str(error) or type(error).__name__
            flag = f"{step} failed, and the order before it was kept: {reason}"
            return Ranking(ranking.rows, ranking.scores, (*ranking.flags, flag))
    search.stages.append((stage.name, ranked))
    return with_rest(ranked, ranking)


def check_answer(ranked: Ranking, head: Ranking, name: str) -> None:
    """A ranker reorders: each query has the rows it had, with scores that do not ascend.

    Raises :class:`~cormorant.errors.CormorantError` where one does not.
    """
    if ranked.n_queries != head.n_queries:
        raise CormorantError(
            f"the stage {name!r} answered {ranked.n_queries} queries of {head.n_queries}"
        )
    width = max(ranked.depth, head.depth)
    given, found = _sorted_rows(head, width), _sorted_rows(ranked, width)
    wrong = np.any(given != found, axis=1)
    if wrong.any():
        query = int(np.argmax(wrong))
        raise CormorantError(
            f"the stage {name!r} was given {_count(head, query)} rows for query {query} of the "
            f"batch and returned {_count(ranked, query)}, or others; it may only reorder"
        )
    there = ranked.rows != NO_ROW
    scores = np.where(there, ranked.scores, -np.inf)
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise CormorantError(f"the stage {name!r} gave a score that is NaN or infinite")
    if np.any(scores[:, 1:] > scores[:, :-1]):
        raise CormorantError(f"the stage {name!r} gave an order that its scores contradict")


def with_prior(ranked: Ranking, head: Ranking, weight: float) -> Ranking:
    """A stage's scores with a share of those before it, both from 0 to 1 over a query's candidates.

    Of equal sums the stage's order decides. Rows that it did not score stay behind with -inf.
    """
    prior = np.full(ranked.rows.shape, -np.inf, np.float32)
    for before, rows, scores, own in zip(head.rows, ranked.rows, head.scores, prior, strict=True):
        there = rows != NO_ROW
        order = np.argsort(before)
        own[there] = scores[order[np.searchsorted(before[order], rows[there])]]
    shares = (normalised(prior, None, "minmax"), normalised(ranked.scores, None, "minmax"))
    mixed = (weight * shares[0] + (1 - weight) * shares[1]).astype(np.float32)
    mixed[~np.isfinite(ranked.scores)] = -np.inf
    order = np.argsort(-mixed, axis=1, kind="stable")
    rows, scores = np.take_along_axis(ranked.rows, order, 1), np.take_along_axis(mixed, order, 1)
    return Ranking(rows, scores, ranked.flags)


def _sorted_rows(ranking: Ranking, width: int) -> Int64Array:
    rows = np.full((ranking.n_queries, width), NO_ROW, np.int64)
    rows[:, : ranking.depth] = ranking.rows
    rows.sort(axis=1)
    return rows


def _count(ranking: Ranking, query: int) -> int:
    return int(np.count_nonzero(ranking.rows[query] != NO_ROW))


def with_rest(ranked: Ranking, before: Ranking) -> Ranking:
    """The reranked head, then what was below it, in its old order and below in score.

    A row of the head without a score (-inf) gets one below all that have one.
    """
    depth = ranked.depth
    flags = (*before.flags, *ranked.flags)
    if depth == 0:
        return Ranking(before.rows, before.scores, flags)
    rows = before.rows.copy()
    scores = before.scores.astype(np.float64)
    rows[:, :depth] = ranked.rows
    scores[:, :depth] = _with_scores(ranked)
    if depth < before.depth:
        lowest = np.where(ranked.rows == NO_ROW, np.inf, scores[:, :depth]).min(axis=1)
        top = before.scores[:, depth]
        known = np.isfinite(lowest) & np.isfinite(top)
        shift = np.where(known, lowest, 0.0) - np.where(known, top, 0.0)
        rest = scores[:, depth:] + np.minimum(shift, 0.0)[:, None]
        rest = np.minimum(rest, lowest[:, None])  # the sum was rounded
        rest = np.nextafter(rest.astype(np.float32), np.float32(-np.inf))
        scores[:, depth:] = np.where(rows[:, depth:] == NO_ROW, -np.inf, rest)
    return Ranking(rows, scores.astype(np.float32), flags)


def _with_scores(ranked: Ranking) -> Float64Array:
    """Scores (n_queries, depth) float64, those of rows without one made up: they go on falling."""
    scores = ranked.scores.astype(np.float64)
    without = (ranked.rows != NO_ROW) & np.isneginf(scores)
    lowest = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, initial=np.inf)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    step = _STEP * np.maximum(np.abs(lowest), 1.0)
    places = np.cumsum(without, axis=1)
    made = lowest[:, None] - step[:, None] * places
    filled: Float64Array = np.where(without, made, scores)
    return filled
