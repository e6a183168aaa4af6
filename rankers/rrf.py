"""Reciprocal rank fusion: what each list's order says, whatever its scores are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..contracts import Float32Array, Int64Array, RankedList, TrueScores
from ..errors import InputError
from ..ranking import NO_ROW, Ranking
from .candidates import Candidates, Float64Array, best, check_lists, gathered, look_up, side_by_side
from .weights import checked_weights, one_for_each


@dataclass(frozen=True, slots=True)
class RRF:
    """Reciprocal rank fusion: a document's score is the sum of ``weight / (k + rank)``.

    ``k`` is how soon the difference between neighbouring ranks fades. ``weights``: one for each
    list, in the pipeline's order; empty: each counts 1. Ranks start at 1.

    * A document that a list lacks gets nothing from it, as published. Its score in that list is
      not asked for; :class:`~cormorant.rankers.convex.Convex` does ask.
    * Documents with equal scores in a list share the best of their ranks (1, 2, 2, 4). The order
      among them is that of their insertion and says nothing about the query; and unlike a mean
      rank, the best one does not depend on where the list is cut.
    * An empty list gives nothing to anybody. A score of -inf is the last of its list.

    A fused score is a sum of reciprocal ranks, about 0.03 at the top: it orders documents and is no
    measure of relevance.

    Source: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
    Rank Learning Methods", SIGIR 2009.
    """

    kind: ClassVar[str] = "rrf"
    k: int = 60
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not _is_integer(self.k) or not 0 <= self.k <= 1_000_000:
            raise InputError(f"is an integer from 0 to 1,000,000, got {self.k!r}", field="k")
        object.__setattr__(self, "weights", checked_weights(self.weights))

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
            parts = weights[:, None, None] / (self.k + block.values.astype(np.float64))
            yield block, np.nan_to_num(parts, copy=False, nan=0.0)


def _ranks(ranking: Ranking) -> Float32Array:
    """The rank of each place, from 1; places of equal scores share the first one's."""
    ranks = np.cumsum(ranking.rows != NO_ROW, axis=1, dtype=np.int64)
    same = np.zeros(ranks.shape, np.bool_)
    same[:, 1:] = ranking.scores[:, 1:] == ranking.scores[:, :-1]
    ranks[same] = 0
    return np.maximum.accumulate(ranks, axis=1).astype(np.float32)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
