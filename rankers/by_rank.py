"""Fusions by rank: what each list's order says, whatever its scores are.

Documents with equal scores in a list share the best of their ranks (1, 2, 2, 4). An empty list
gives nothing to anybody, and no index is asked for a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..contracts import Float32Array, Int64Array, TrueScores
from ..ranking import NO_ROW, Ranking
from ..stages import RankedList
from .candidates import Candidates, Float64Array, best, check_lists, gathered, look_up, side_by_side
from .weights import checked_weights, one_for_each


class RankFusion:
    """A fusion by ranks; a frozen dataclass with ``weights`` that says what ranks are worth."""

    __slots__ = ()
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", checked_weights(self.weights))

    def worth(self, block: Candidates) -> Float64Array:
        """What each list gives each candidate: (n_lists, n_queries, m).

        ``block.values`` hold ranks from 1, NaN where a list lacks the row.
        """
        raise NotImplementedError

    def fuse(self, lists: Sequence[RankedList], score: TrueScores, k: int) -> Ranking:
        """The k best rows of each query; ``score`` is not called.

        Raises :class:`~cormorant.errors.InputError` for a wrong number of weights, and
        :class:`~cormorant.errors.CormorantError` for a list with a row twice or a score that is
        NaN or +inf.
        """
        n_queries = check_lists(lists)
        blocks = [best(block, parts.sum(axis=0), k) for block, parts in self._parts(lists)]
        flags = tuple(dict.fromkeys(flag for item in lists for flag in item.ranking.flags))
        return gathered(blocks, flags) if blocks else Ranking.empty(n_queries, k, flags)

    def contributions(
        self, lists: Sequence[RankedList], score: TrueScores, rows: Int64Array
    ) -> Float32Array:
        """What each list adds to the fused scores of given rows: (n_lists, n_queries, m)."""
        check_lists(lists)
        found = np.zeros((len(lists), *rows.shape), np.float32)
        for block, parts in self._parts(lists):
            found[:, block.queries] = look_up(block, parts, rows[block.queries])
        return found

    def _parts(self, lists: Sequence[RankedList]) -> Iterator[tuple[Candidates, Float64Array]]:
        weights = np.array(one_for_each(self.weights or (1.0,) * len(lists), lists))
        for block in side_by_side(lists, [_ranks(item.ranking) for item in lists]):
            parts = weights[:, None, None] * np.nan_to_num(self.worth(block), copy=False, nan=0.0)
            yield block, parts


@dataclass(frozen=True, slots=True)
class ISR(RankFusion):
    """Inverse square rank: the sum of ``1 / rank^2``, times the number of lists that hold the row.

    Source: Mourão, Martins and Magalhães, "Inverse Square Rank Fusion for Multimodal Search", CBMI
    2014.
    """

    kind: ClassVar[str] = "isr"
    weights: tuple[float, ...] = ()

    def worth(self, block: Candidates) -> Float64Array:
        """How many lists hold the row, by the square of its rank."""
        ranks = block.values.astype(np.float64)
        holding = (~np.isnan(ranks)).sum(axis=0)
        squares: Float64Array = holding / (ranks * ranks)
        return squares


@dataclass(frozen=True, slots=True)
class Borda(RankFusion):
    """Borda's count: of n candidates the first of a list gets n points, the next n - 1, and so on.

    The points that a list has left are shared alike by the candidates that it lacks. They are
    divided by n, so that a score does not grow with the depth of the lists.

    Source: Aslam and Montague, "Models for Metasearch", SIGIR 2001, section 3.1.
    """

    kind: ClassVar[str] = "borda"
    weights: tuple[float, ...] = ()

    def worth(self, block: Candidates) -> Float64Array:
        """The points of every candidate, by their number."""
        ranks = block.values.astype(np.float64)
        n = block.there.sum(axis=1)[None, :, None]
        listed = (~np.isnan(ranks)).sum(axis=2, keepdims=True)
        left = np.where(listed > 0, (n - listed + 1) / 2, 0.0)
        points = np.where(np.isnan(ranks), left, n - ranks + 1)
        worth: Float64Array = np.where(block.there, points / np.maximum(n, 1), 0.0)
        return worth


def _ranks(ranking: Ranking) -> Float32Array:
    """The rank of each place, from 1; places of equal scores share the first one's."""
    ranks = np.cumsum(ranking.rows != NO_ROW, axis=1, dtype=np.int64)
    same = np.zeros(ranks.shape, np.bool_)
    same[:, 1:] = ranking.scores[:, 1:] == ranking.scores[:, :-1]
    ranks[same] = 0
    return np.maximum.accumulate(ranks, axis=1).astype(np.float32)
