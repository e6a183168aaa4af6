"""Several orders of the same passages -> one; and how much they disagree.

Tang et al., "Found in the Middle: Permutation Self-Consistency", NAACL 2024: the input is shuffled
several times, and the order is taken that disagrees least with all answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array

RRF_K = 60
AGGREGATES = ("kendall", "borda", "rrf")

Float64Array = NDArray[np.float64]


def aggregate(orders: Sequence[Sequence[int]], how: str) -> list[int]:
    """One order of places 0..n-1; ties go to the place that comes first in the first order."""
    ranks = _ranks(orders)
    values = 1.0 / (RRF_K + 1 + ranks) if how == "rrf" else -ranks
    scores = values.mean(axis=0)
    made = np.lexsort((ranks[0], -scores))
    best: list[int] = (_local_search(ranks, made) if how == "kendall" else made).tolist()
    return best


def sensitivity(orders: Sequence[Sequence[int]]) -> float:
    """The mean share of pairs that two of the orders put differently; 0: input order is nothing.

    0.5 is what orders at random would give.
    """
    ranks = _ranks(orders)
    n = ranks.shape[1]
    if len(ranks) < 2 or n < 2:
        return 0.0
    before = np.array([np.sign(row[:, None] - row[None, :]) for row in ranks])
    upper = np.triu_indices(n, 1)
    signs = before[:, upper[0], upper[1]]
    shares = [
        float((signs[one] != signs[other]).mean())
        for one in range(len(signs))
        for other in range(one)
    ]
    return float(np.mean(shares))


def distance(order: Sequence[int], orders: Sequence[Sequence[int]]) -> int:
    """The summed Kendall tau distance: pairs that ``order`` and another put differently."""
    own = _ranks([order])[0]
    signs = np.sign(own[:, None] - own[None, :])
    total = 0
    for row in _ranks(orders):
        total += int((signs != np.sign(row[:, None] - row[None, :])).sum()) // 2
    return total


def _ranks(orders: Sequence[Sequence[int]]) -> Int64Array:
    """(n_orders, n): the place of each item in each order."""
    ranks = np.empty((len(orders), len(orders[0])), np.int64)
    for number, order in enumerate(orders):
        ranks[number, np.asarray(order, np.int64)] = np.arange(len(order))
    return ranks


def _local_search(ranks: Int64Array, order: Int64Array) -> Int64Array:
    """Move single items to where the summed Kendall tau distance falls most, until none does.

    ``prefers[i, j]``: how many orders put i before j, less those that put j before i.
    """
    prefers = np.sign(ranks[:, None, :] - ranks[:, :, None]).sum(axis=0)
    made: list[int] = order.tolist()
    improved = True
    while improved:
        improved = False
        for item in list(made):
            rest = [other for other in made if other != item]
            # What is won with the item before each of the others: cumulative from the end.
            wins = prefers[item, rest]
            gain = np.concatenate([np.cumsum(wins[::-1])[::-1], [0]])
            gain = gain - np.concatenate([[0], np.cumsum(wins)])
            here = made.index(item)
            best = int(np.argmax(gain))
            if gain[best] > gain[here]:
                made = [*rest[:best], item, *rest[best:]]
                improved = True
    return np.array(made, np.int64)
