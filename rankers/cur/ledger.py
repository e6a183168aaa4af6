"""What a query has paid for: every call of the scorer, once for a pair, never beyond the budget.

The ledger is the only way to the scorer, so the budget holds whatever a method asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Int64Array

Float64Array: TypeAlias = NDArray[np.float64]
ScorePairs: TypeAlias = Callable[[Int64Array, Int64Array], Float64Array]
"""(numbers of queries (n,), places of items (n,)) -> (n,) scores, NaN where there is none."""


class Ledger:
    """The scored items of a batch of queries.

    ``sizes``: how many items each query has; ``budget``: the most calls for each.
    """

    def __init__(self, score: ScorePairs, sizes: Sequence[int], budget: int) -> None:
        self._score = score
        self.budget = budget
        self.calls = [0] * len(sizes)
        self.asked: list[BoolArray] = [np.zeros(size, np.bool_) for size in sizes]
        self.refused: list[BoolArray] = [np.zeros(size, np.bool_) for size in sizes]
        self._places: list[list[int]] = [[] for _ in sizes]
        self._values: list[list[float]] = [[] for _ in sizes]

    def spend(self, wanted: Sequence[Int64Array]) -> None:
        """Score items of every query, all queries' pairs in one call of the scorer.

        Of ``wanted[query]`` those that were asked before cost nothing, and what is beyond the
        budget is left out, from the end. A NaN is a call spent without a score; so is an infinite
        one.
        """
        numbers, places = [], []
        for query, items in enumerate(wanted):
            fresh = np.array(list(dict.fromkeys(items.tolist())), np.int64)
            fresh = fresh[~self.asked[query][fresh]]
            fresh = fresh[: self.budget - self.calls[query]]
            numbers.append(np.full(len(fresh), query, np.int64))
            places.append(fresh)
        flat, items_flat = np.concatenate(numbers), np.concatenate(places)
        if not len(flat):
            return
        # Paid before they are made: a scorer that raises half-way has cost its calls.
        for query, items in enumerate(places):
            self.asked[query][items] = True
            self.calls[query] += len(items)
        values = np.asarray(self._score(flat, items_flat), np.float64)
        if values.shape != flat.shape:
            raise ValueError(f"{flat.shape[0]} pairs were scored, got scores {values.shape}")
        good = np.isfinite(values)
        for query, place, value, known in zip(
            flat.tolist(), items_flat.tolist(), values.tolist(), good.tolist(), strict=True
        ):
            if known:
                self._places[query].append(place)
                self._values[query].append(value)
            else:
                self.refused[query][place] = True

    def left(self, query: int) -> int:
        """How many calls a query may still make."""
        return self.budget - self.calls[query]

    def scored(self, query: int) -> tuple[Int64Array, Float64Array]:
        """A query's items with scores, in the order they were asked for, and the scores."""
        return np.array(self._places[query], np.int64), np.array(self._values[query], np.float64)
