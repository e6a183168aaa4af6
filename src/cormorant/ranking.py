"""The currency between rooms: ranked rows for a batch of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_ROW = -1


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranked rows for a batch of queries, best first.

    ``rows``: (n_queries, k) int64, ``NO_ROW`` (-1) where a query has fewer than k results.
    ``scores``: (n_queries, k) float32, -inf at the same places. Within a query scores do not
    increase, and of equal scores the lower row comes first. ``flags`` says what was cut, skipped or
    pending on the way.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            raise ValueError(
                f"rows and scores are two arrays of one shape (n_queries, k), "
                f"got {self.rows.shape} and {self.scores.shape}"
            )

    @property
    def n_queries(self) -> int:
        """How many queries were ranked."""
        return int(self.rows.shape[0])

    @property
    def depth(self) -> int:
        """How many places a query has."""
        return int(self.rows.shape[1])

    def cut(self, k: int) -> Ranking:
        """The first k places."""
        return Ranking(self.rows[:, :k], self.scores[:, :k], self.flags)

    @staticmethod
    def empty(n_queries: int, k: int, flags: tuple[str, ...] = ()) -> Ranking:
        """No result for any of n_queries."""
        return Ranking(
            np.full((n_queries, k), NO_ROW, np.int64),
            np.full((n_queries, k), -np.inf, np.float32),
            flags,
        )

    @staticmethod
    def merge(rankings: Sequence[Ranking], k: int) -> Ranking:
        """The k best of several rankings of the same queries over disjoint rows."""
        flags = tuple(dict.fromkeys(flag for ranking in rankings for flag in ranking.flags))
        if len(rankings) == 1:
            return Ranking(rankings[0].rows[:, :k], rankings[0].scores[:, :k], flags)
        rows = np.concatenate([ranking.rows for ranking in rankings], axis=1)
        scores = np.concatenate([ranking.scores for ranking in rankings], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return Ranking(
            np.take_along_axis(rows, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
            flags,
        )
