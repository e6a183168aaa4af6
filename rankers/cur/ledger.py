"""What a query has paid for: every call of the scorer, once for a pair, never beyond the budget.

The ledger is the only way to the scorer, so the budget holds whatever a method asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Int64Array
from ..pairs import PAIRS_AT_ONCE

Float64Array: TypeAlias = NDArray[np.float64]
ScorePairs: TypeAlias = Callable[[Int64Array, Int64Array], Float64Array]
"""(numbers of queries (n,), places of items (n,)) -> (n,) scores, NaN where there is none."""


class Ledger:
    """The scored items of a batch of queries.

    ``sizes``: how many items each query has; ``budgets``: the most calls of each. ``at_once``: the
    most pairs in one call of ``score``; between two of them ``out_of_time`` may end the spending.
    """

    def __init__(
        self,
        score: ScorePairs,
        sizes: Sequence[int],
        budgets: Sequence[int],
        out_of_time: Callable[[], bool] = lambda: False,
        at_once: int = PAIRS_AT_ONCE,
    ) -> None:
        self._score = score
        self._out_of_time = out_of_time
        self._at_once = at_once
        self.budgets = budgets
        self.failure: Exception | None = None
        self.calls = [0] * len(sizes)
        self.asked: list[BoolArray] = [np.zeros(size, np.bool_) for size in sizes]
        self.refused: list[BoolArray] = [np.zeros(size, np.bool_) for size in sizes]
        self._places: list[list[int]] = [[] for _ in sizes]
        self._values: list[list[float]] = [[] for _ in sizes]

    def spend(self, wanted: Sequence[Int64Array]) -> bool:
        """Score items of every query, the first of every query before the second of any.

        Of ``wanted[query]`` those that were asked before cost nothing, and what is beyond the
        budget is left out, from the end. A NaN is a call spent without a score; so is an infinite
        one. False where it ended early: the time was over, or the scorer raised ``failure``.
        """
        numbers, places, ranks = [], [], []
        for query, items in enumerate(wanted):
            fresh = np.array(list(dict.fromkeys(items.tolist())), np.int64)
            fresh = fresh[~self.asked[query][fresh]]
            fresh = fresh[: self.left(query)]
            numbers.append(np.full(len(fresh), query, np.int64))
            places.append(fresh)
            ranks.append(np.arange(len(fresh)))
        order = np.argsort(np.concatenate(ranks), kind="stable")
        flat, items_flat = np.concatenate(numbers)[order], np.concatenate(places)[order]
        for at in range(0, len(flat), self._at_once):
            if at and self._out_of_time():
                return False
            some = slice(at, at + self._at_once)
            try:
                self._buy(flat[some], items_flat[some])
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
                self.failure = error
                return False
        return True

    def _buy(self, numbers: Int64Array, places: Int64Array) -> None:
        """Score the pairs of queries and items, (n,) each."""
        # Paid before they are made: a scorer that raises half-way has cost its calls.
        for query, place in zip(numbers.tolist(), places.tolist(), strict=True):
            self.asked[query][place] = True
            self.calls[query] += 1
        values = np.asarray(self._score(numbers, places), np.float64)
        if values.shape != numbers.shape:
            raise ValueError(f"{len(numbers)} pairs were scored, got scores {values.shape}")
        good = np.isfinite(values)
        for query, place, value, known in zip(
            numbers.tolist(), places.tolist(), values.tolist(), good.tolist(), strict=True
        ):
            if known:
                self._places[query].append(place)
                self._values[query].append(value)
            else:
                self.refused[query][place] = True

    def left(self, query: int) -> int:
        """How many calls a query may still make."""
        return self.budgets[query] - self.calls[query]

    def scored(self, query: int) -> tuple[Int64Array, Float64Array]:
        """A query's items with scores, in the order they were asked for, and the scores."""
        return np.array(self._places[query], np.int64), np.array(self._values[query], np.float64)
