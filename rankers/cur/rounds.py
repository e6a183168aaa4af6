"""The search: score some items, estimate the rest, score the best of those, and so on.

One loop serves three methods, which differ in how they estimate and in how often:

* ANNCUR scores items drawn uniformly, estimates once, and scores the best estimates;
* ADACUR estimates anew after each round, with all items scored so far as anchor items;
* AXN does the same with a regression on item vectors in the place of the decomposition.

The last two begin with what a first stage ranks highest. All answer by exact scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from ...contracts import Int64Array
from ..pairs import PAIRS_AT_ONCE
from .decomposition import Decomposition, Report
from .features import Features, estimates
from .ledger import Float64Array, Ledger, ScorePairs
from .regression import Regression

METHODS = ("anncur", "adacur", "axn")


class Plan(NamedTuple):
    """How a query's calls are spent.

    ``rounds``: how often items are chosen. ``first_share``: of the budget, for the first round.
    """

    method: str
    budget: int
    rounds: int
    first_share: float
    seed: int

    def sizes(self) -> list[int]:
        """How many calls each round makes; they add up to the budget."""
        rounds = 2 if self.method == "anncur" else self.rounds
        if rounds == 1 or self.budget <= 1:
            return [self.budget]
        first = min(self.budget - 1, max(1, round(self.budget * self.first_share)))
        edges = np.linspace(first, self.budget, rounds).astype(np.int64)
        return [size for size in [first, *np.diff(edges).tolist()] if size]


class Pool(NamedTuple):
    """The items that one query is to be searched in.

    ``first`` (n,) float64: a first stage's scores, for the order to begin with; None: there is
    none. ``anchors`` (k_q, n) float64: exact scores of the anchor queries, which AXN does not read.
    ``vectors`` (n, d) float64 and ``ridge``: what AXN regresses on, beside ``own`` (n, e). Where
    there are ``places`` (n,), item i is column, or row, ``places[i]`` of these two, which all
    queries of a batch had best share.
    """

    size: int
    first: Float64Array | None
    anchors: Float64Array | None
    vectors: Float64Array | None
    ridge: float
    places: Int64Array | None = None
    own: Float64Array | None = None


class Found(NamedTuple):
    """One query's answer: exactly scored items, best first; and the others with estimates.

    ``items`` (n_scored,) and ``scores``; ``others`` with ``estimates`` is every item that has no
    exact score, ascending; without the ``invalid`` ones, to which the scorer gave no number.
    """

    items: Int64Array
    scores: Float64Array
    others: Int64Array
    estimates: Float64Array
    calls: int
    invalid: int
    report: Report | None


def search(
    pools: Sequence[Pool],
    plans: Sequence[Plan],
    score: ScorePairs,
    out_of_time: Callable[[], bool] = lambda: False,
    at_once: int = PAIRS_AT_ONCE,
) -> tuple[list[Found], Exception | None]:
    """The answers to a batch of queries, each by its own plan; and what the scorer raised.

    Every round scores the pairs of all queries, ``at_once`` in one call of ``score``. After an
    exception the answers are those of what was scored before it; the caller keeps them or raises
    it. ``out_of_time``, asked between calls and before the last estimates, may end the search.
    """
    budgets = [plan.budget for plan in plans]
    ledger = Ledger(score, [pool.size for pool in pools], budgets, out_of_time, at_once)
    models = _models(pools, plans)
    guesses: list[Float64Array | None] = [None] * len(pools)
    reports: list[Report | None] = [None] * len(pools)
    sizes_of = [plan.sizes() for plan in plans]
    for number, sizes in enumerate(zip_longest(*sizes_of, fillvalue=0)):
        if out_of_time():
            break
        if number:
            going = [query for query, size in enumerate(sizes) if size]
            _guess(models, ledger, going, guesses, reports)
        wanted = [
            _next(pool, plan, guesses[query], ledger.asked[query], sizes[query])
            for query, (pool, plan) in enumerate(zip(pools, plans, strict=True))
        ]
        if not ledger.spend(wanted):
            break
    else:
        if not out_of_time():
            spent = [query for query in range(len(pools)) if ledger.left(query) == 0]
            _guess(models, ledger, spent, guesses, [None] * len(pools))
    found = [
        _answer(pool, guesses[query], ledger, query, reports[query])
        for query, pool in enumerate(pools)
    ]
    return found, ledger.failure


def _models(
    pools: Sequence[Pool], plans: Sequence[Plan]
) -> list[Decomposition | Regression | None]:
    """What estimates the scores of each query; None where nothing is known of its items."""
    models: list[Decomposition | Regression | None] = []
    columns: dict[int, Float64Array] = {}
    for pool, plan in zip(pools, plans, strict=True):
        if plan.method == "axn" and pool.vectors is not None:
            features = Features(pool.vectors, pool.places, pool.own)
            models.append(Regression(features, pool.ridge))
        elif plan.method != "axn" and pool.anchors is not None:
            shared = columns.setdefault(id(pool.anchors), pool.anchors.T)
            models.append(Decomposition(Features(shared, pool.places)))
        else:
            models.append(None)
    return models


def _guess(
    models: Sequence[Decomposition | Regression | None],
    ledger: Ledger,
    queries: Iterable[int],
    guesses: list[Float64Array | None],
    reports: list[Report | None],
) -> None:
    """Put down new estimates of queries that have scores."""
    fitted, features, lines = [], [], []
    for query in queries:
        model, (items, values) = models[query], ledger.scored(query)
        if model is not None and len(items):
            line, reports[query] = model.fit(items, values)
            fitted.append(query)
            features.append(model.features)
            lines.append(line)
    for query, values in zip(fitted, estimates(features, lines), strict=True):
        guesses[query] = values


def _next(
    pool: Pool, plan: Plan, guess: Float64Array | None, asked: np.ndarray, size: int
) -> Int64Array:
    """The items to score in a round: the best that were not asked for yet."""
    order = guess
    if order is None and plan.method != "anncur":
        order = pool.first
    if order is None:
        drawn: Int64Array = np.random.default_rng(plan.seed).permutation(pool.size)
        drawn = drawn[~asked[drawn]][:size]
        return drawn
    return best_first(np.where(asked, -np.inf, order), np.flatnonzero(~asked), size)


def best_first(values: Float64Array, items: Int64Array, size: int) -> Int64Array:
    """The ``size`` best of ``items`` by ``values`` (n,); of equal values the lower item first."""
    if size <= 0 or not len(items):
        return np.zeros(0, np.int64)
    own = values[items]
    if size < len(items):
        least = np.partition(own, len(items) - size)[len(items) - size]
        items, own = items[own >= least], own[own >= least]
    return items[np.lexsort((items, -own))][:size]


def _answer(
    pool: Pool, guess: Float64Array | None, ledger: Ledger, query: int, report: Report | None
) -> Found:
    items, values = ledger.scored(query)
    order = np.lexsort((items, -values))
    others = ~ledger.refused[query]
    others[items] = False
    rest = np.flatnonzero(others)
    fallback = pool.first if guess is None else guess
    values_of_rest = np.zeros(pool.size) if fallback is None else fallback
    return Found(
        items[order],
        values[order],
        rest,
        values_of_rest[rest],
        ledger.calls[query],
        int(np.count_nonzero(ledger.refused[query])),
        report,
    )
