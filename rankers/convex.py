"""Convex combination: a weighted sum of every list's normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..contracts import BoolArray, Float32Array, Int64Array, RankedList, TrueScores
from ..errors import InputError
from ..ranking import NO_ROW, Ranking
from .candidates import (
    Candidates,
    Float64Array,
    best,
    check_lists,
    check_scores,
    gathered,
    look_up,
    side_by_side,
)
from .weights import checked_weights, one_for_each, shares

NORMS = ("tmm", "minmax")

# nDCG@10 on the 2,590 training queries of NFCorpus, vectors of all-MiniLM-L6-v2 with exact cosine,
# by the weight of dense: 0 .322, 0.5 .345, 0.7 .356, 0.75 .357, 0.8 .359, 0.85 .358, 0.9 .353,
# 1 .321; depths 100 and 1000 agree to four digits from 0.05 up; RRF() .347. The paper's choice,
# too, is 0.8. The best weight belongs to the norm: under minmax it is 0.5 to 0.6 (.356).
DEFAULT_WEIGHTS = {"bm25": 0.2, "dense": 0.8}


@dataclass(frozen=True, slots=True)
class Convex:
    """Convex combination of normalised scores.

    ``weights``: one for each list, in the pipeline's order; they are divided by their sum. None:
    for one list of kind bm25 and one of kind dense those that were best on training queries
    (``DEFAULT_WEIGHTS``, under ``tmm`` with both bounds known), else equal shares.

    ``norm`` maps each list's scores of a query to 0..1: ``(score - lowest) / (highest - lowest)``.

    * ``tmm``: ``lowest`` is the least that a score of that index can be (0 for BM25, -1 for a
      cosine), or where there is no such bound, as in minmax;
    * ``minmax``: ``lowest`` is the least score among the query's candidates.

    ``highest`` is the highest score among the query's candidates, which are all rows that any list
    holds. A candidate that a list lacks is given its **true score** by that index, not 0: so under
    a bound the depth decides which rows are candidates, and nothing else about their scores.

    * A row that an index does not hold, or that scores -inf, gets 0 of that list. So does a score
      below the bound (a cosine of -1.0000001).
    * A list that is empty for a query adds 0 to every row and is not asked for true scores. Where
      all lists are empty the answer is.
    * Where all candidates score the same in a list (a list of one row, say), each gets 1, as does
      the best of any other list; but 0 where that score is the index's lowest. Nothing is divided.
    * Of equal fused scores the lower row comes first.

    Source: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023
    (its TM2C2).
    """

    kind: ClassVar[str] = "convex"
    weights: tuple[float, ...] | None = None
    norm: str = "tmm"

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InputError(f"is one of {', '.join(NORMS)}, got {self.norm!r}", field="norm")
        if self.weights is not None:
            object.__setattr__(self, "weights", checked_weights(self.weights))
            if not self.weights:
                raise InputError("names no weight; leave it out for the default", field="weights")

    def fuse(self, lists: Sequence[RankedList], score: TrueScores, k: int) -> Ranking:
        """The k best rows of each query; asks each index at most once for true scores.

        Raises :class:`~cormorant.errors.InputError` for a wrong number of weights, and
        :class:`~cormorant.errors.CormorantError` for a list with a row twice or a score that is
        NaN or +inf.
        """
        n_queries = check_lists(lists)
        flags = tuple(dict.fromkeys(flag for item in lists for flag in item.ranking.flags))
        weights = self._weights(lists)
        blocks = []
        for block in _with_true_scores(lists, score):
            total = np.zeros(block.rows.shape)
            for part in self._parts(lists, block, weights):
                total += part
            blocks.append(best(block, total, k))
        return gathered(blocks, flags) if blocks else Ranking.empty(n_queries, k, flags)

    def contributions(
        self, lists: Sequence[RankedList], score: TrueScores, rows: Int64Array
    ) -> Float32Array:
        """What each list adds to the fused scores of given rows: (n_lists, n_queries, m)."""
        check_lists(lists)
        weights = self._weights(lists)
        found = np.zeros((len(lists), *rows.shape), np.float32)
        for block in _with_true_scores(lists, score):
            parts = np.stack(self._parts(lists, block, weights))
            found[:, block.queries] = look_up(block, parts, rows[block.queries])
        return found

    def _weights(self, lists: Sequence[RankedList]) -> tuple[float, ...]:
        if self.weights is not None:
            return shares(one_for_each(self.weights, lists))
        kinds = [item.kind for item in lists]
        bounded = self.norm == "tmm" and all(item.lowest_score is not None for item in lists)
        if bounded and sorted(kinds) == sorted(DEFAULT_WEIGHTS):
            return tuple(DEFAULT_WEIGHTS[kind] for kind in kinds)
        return shares([1.0] * len(kinds))

    def _parts(
        self, lists: Sequence[RankedList], block: Candidates, weights: Sequence[float]
    ) -> list[Float64Array]:
        """Each list's weighted, normalised scores of a block's candidates."""
        return [
            weight * _normalised(scores, item.lowest_score, self.norm)
            for item, scores, weight in zip(lists, block.values, weights, strict=True)
        ]


def _normalised(scores: Float32Array, bound: float | None, norm: str) -> Float64Array:
    """Scores (n_queries, m) float32, -inf or NaN where there is none, to 0..1."""
    held = scores > -np.inf  # NaN is not
    exact = np.where(held, scores, -np.inf).astype(np.float64)
    if bound is not None:
        np.maximum(exact, bound, where=held, out=exact)
    highest = exact.max(axis=1, initial=-np.inf)[:, None]
    if bound is not None and norm == "tmm":
        lowest = np.full_like(highest, bound)
    else:
        lowest = np.where(held, exact, np.inf).min(axis=1, initial=np.inf)[:, None]
    with np.errstate(invalid="ignore"):  # inf - inf, of an empty list
        span = highest - lowest
    spread = span > 0
    result = np.zeros(exact.shape)
    np.subtract(exact, lowest, where=held & spread, out=result)
    np.divide(result, span, where=held & spread, out=result)
    above = -np.inf if bound is None else bound
    result[held & ~spread & (highest > above)] = 1.0
    return result


def _with_true_scores(lists: Sequence[RankedList], score: TrueScores) -> list[Candidates]:
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
