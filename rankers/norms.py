"""Scores of one list brought to a scale that lists share, and what a list says of rows it lacks.

Every scale begins at 0 for the least of a list, so that 0 is the right thing to say of a row that a
list lacks. Under the z-score as it is usually written, ``(score - mean) / deviation``, 0 would be
the mean, and a row that was not found would beat half of those that were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..contracts import BoolArray, Float32Array, Int64Array, TrueScores
from ..ranking import NO_ROW
from ..stages import RankedList
from .candidates import Candidates, Float64Array, check_scores, side_by_side

NORMS = ("tmm", "minmax", "zscore", "dbsf")
MISSING = ("computed", "zero", "dropped")


def normalised(scores: Float32Array, bound: float | None, norm: str) -> Float64Array:
    """Scores (n_queries, m) float32, -inf or NaN where there is none, to 0 and above.

    ``tmm``, ``minmax``: ``(score - lowest) / (highest - lowest)``, 0 to 1; ``lowest`` is the
    index's ``bound`` (tmm, where there is one) or the least of the query's. ``zscore``: ``(score -
    lowest) / deviation``, which orders as the usual z-score does. ``dbsf``: ``(score - mean + 3
    deviations) / (6 deviations)``, 0 for what is below that. Where all scores are alike each gets
    1, but 0 where that score is the bound; what has no score gets 0.
    """
    held = scores > -np.inf  # NaN is not
    exact = np.where(held, scores, -np.inf).astype(np.float64)
    if bound is not None:
        np.maximum(exact, bound, where=held, out=exact)
    highest = exact.max(axis=1, initial=-np.inf)[:, None]
    lowest = np.where(held, exact, np.inf).min(axis=1, initial=np.inf)[:, None]
    if norm == "tmm" and bound is not None:
        lowest = np.full_like(highest, bound)
    with np.errstate(invalid="ignore"):  # inf - inf, of an empty list
        span = highest - lowest
    spread = span > 0
    if norm in ("zscore", "dbsf"):
        mean, deviation = _moments(exact, held)
        spread &= deviation > 0
        if norm == "dbsf":
            lowest, span = mean - 3 * deviation, 6 * deviation
        else:
            span = deviation
    result = np.zeros(exact.shape)
    np.subtract(exact, lowest, where=held & spread, out=result)
    np.divide(result, span, where=held & spread, out=result)
    np.maximum(result, 0.0, out=result)
    above = -np.inf if bound is None else bound
    result[held & ~spread & (highest > above)] = 1.0
    return result


def _moments(exact: Float64Array, held: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of each query's scores: both (n_queries, 1) float64."""
    n = np.maximum(held.sum(axis=1, keepdims=True), 1)
    mean = np.sum(exact, axis=1, keepdims=True, where=held) / n
    squares = np.zeros(exact.shape)
    np.subtract(exact, mean, where=held, out=squares)
    deviation = np.sqrt((squares * squares).sum(axis=1, keepdims=True) / n)
    return mean, deviation


def blocks_of(lists: Sequence[RankedList], missing: str, score: TrueScores) -> list[Candidates]:
    """The candidates of all queries with each list's scores, under a policy for what it lacks.

    ``computed``: the index is asked for the true score. ``zero``: NaN, which every scale makes 0.
    ``dropped``: a row that a list lacks is no candidate; a list that is empty for a query does not
    count.
    """
    if missing == "computed":
        return with_true_scores(lists, score)
    blocks = list(side_by_side(lists, [item.ranking.scores for item in lists]))
    if missing == "dropped":
        blocks = [_in_every_list(lists, block) for block in blocks]
    return blocks


def _in_every_list(lists: Sequence[RankedList], block: Candidates) -> Candidates:
    """The candidates that every list holds, packed to the left."""
    keep = block.there.copy()
    for number, item in enumerate(lists):
        answered = np.any(item.ranking.rows[block.queries] != NO_ROW, axis=1, keepdims=True)
        keep &= ~np.isnan(block.values[number]) | ~answered
    order = np.argsort(~keep, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(keep, block.rows, NO_ROW), order, axis=1)
    values = np.where(keep, block.values, np.float32(np.nan))
    values = np.take_along_axis(values, order[None], axis=2)
    return Candidates(block.queries, rows, values)


def with_true_scores(lists: Sequence[RankedList], score: TrueScores) -> list[Candidates]:
    """The candidates of all queries with each list's scores, those that it lacked filled in."""
    blocks = list(side_by_side(lists, [item.ranking.scores for item in lists]))
    for number, item in enumerate(lists):
        asked = [_lacking(block, number, item.ranking.rows[block.queries]) for block in blocks]
        wanted = _together([block.rows for block in blocks], asked)
        if wanted.shape[1] == 0:
            continue
        given = np.asarray(score(item.index, wanted), np.float32)
        if given.shape != wanted.shape:
            raise ValueError(
                f"index {item.index!r} was asked for {wanted.shape} scores and gave {given.shape}"
            )
        check_scores(item.index, wanted, given)
        for block, lacking in zip(blocks, asked, strict=True):
            there = wanted[block.queries] != NO_ROW
            block.values[number][lacking] = given[block.queries][there]
    return blocks


def _lacking(block: Candidates, number: int, listed: Int64Array) -> BoolArray:
    """Which candidates (n_queries, m) a list lacks; none where it is empty."""
    answered = np.any(listed != NO_ROW, axis=1, keepdims=True)
    lacking: BoolArray = np.isnan(block.values[number]) & block.there & answered
    return lacking


def _together(rows: Sequence[Int64Array], masks: Sequence[BoolArray]) -> Int64Array:
    """The chosen rows of each query, packed to the left: (n_queries, most of them) int64."""
    counts = np.concatenate([mask.sum(axis=1) for mask in masks] or [np.zeros(0, np.int64)])
    packed = np.full((len(counts), counts.max(initial=0)), NO_ROW, np.int64)
    packed[np.arange(packed.shape[1]) < counts[:, None]] = np.concatenate(
        [row[mask] for row, mask in zip(rows, masks, strict=True)] or [np.zeros(0, np.int64)]
    )
    return packed
