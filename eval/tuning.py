"""Settings found on training queries, and what they are worth on queries they were not found on.

Values per query come from the caller (nDCG@10 of a fusion under some weights, say), so that lists
are retrieved once and fused as often as it takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..rankers.adaptive import FEATURES, Adaptive, favoured_of, features_of
from ..ranking import NO_ROW, Ranking
from ..stages import RankedList

Float64Array: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = tuple[float, ...]
Values: TypeAlias = Callable[[Weights], Float64Array]
"""Weights -> what they are worth for each query: (n_queries,)."""
Search: TypeAlias = Callable[[Callable[[Weights], float]], Weights]
"""The mean worth of weights -> the weights that a search for the best ends with."""

RIDGES = (1.0, 10.0, 100.0, 1000.0)


class Tuned(NamedTuple):
    """``weights``: the best on all queries, of mean ``value``.

    ``held_out``: (n_queries,) for each query what weights are worth that were found without it.
    """

    weights: Weights
    value: float
    held_out: Float64Array


def tune(values: Values, search: Search, n_queries: int, folds: int = 2, seed: int = 0) -> Tuned:
    """The best weights, and how well the way of finding them does on queries it did not see.

    Raises :class:`~cormorant.errors.InputError` for fewer queries than folds.
    """
    known: dict[Weights, Float64Array] = {}

    def worth(weights: Weights) -> Float64Array:
        if weights not in known:
            known[weights] = np.asarray(values(weights), np.float64)
        return known[weights]

    held_out = np.zeros(n_queries)
    for queries in split(n_queries, folds, seed):
        seen = np.setdiff1d(np.arange(n_queries), queries)
        found = search(lambda weights, seen=seen: float(worth(weights)[seen].mean()))  # type: ignore[misc]
        held_out[queries] = worth(found)[queries]
    best = search(lambda weights: float(worth(weights).mean()))
    return Tuned(best, float(worth(best).mean()), held_out)


def split(n_queries: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """The queries in ``folds`` random parts of nearly equal size."""
    if not 2 <= folds <= n_queries:
        raise InputError(f"is from 2 to the {n_queries} queries, got {folds}", field="folds")
    order = np.random.default_rng(seed).permutation(n_queries)
    return [np.sort(part) for part in np.array_split(order, folds)]


def shares_of(n_lists: int, steps: int) -> list[Weights]:
    """Every way to share 1 among lists in steps of ``1 / steps``, in order."""
    counts = itertools.product(range(steps + 1), repeat=n_lists)
    return [tuple(n / steps for n in way) for way in counts if sum(way) == steps]


def grid(choices: Sequence[Weights]) -> Search:
    """Try all; of equal ones the first."""

    def search(worth: Callable[[Weights], float]) -> Weights:
        return max(choices, key=worth)

    return search


def coordinate_ascent(
    start: Weights, steps: Sequence[float] = (0.4, 0.2, 0.1, 0.05), rounds: int = 10
) -> Search:
    """Move one weight at a time while that is better, by ever smaller steps; none goes below 0.

    Metzler and Croft, "Linear Feature-Based Models for Information Retrieval", 2007.
    """

    def search(worth: Callable[[Weights], float]) -> Weights:
        best, value = start, worth(start)
        for step in steps:
            for _ in range(rounds):
                before = value
                for place, sign in itertools.product(range(len(start)), (step, -step)):
                    moved = list(best)
                    moved[place] = round(max(0.0, moved[place] + sign), 9)
                    if any(moved) and (found := worth(tuple(moved))) > value:
                        best, value = tuple(moved), found
                if value == before:
                    break
        return best

    return search


def ndcg(ranking: Ranking, gains: Sequence[Mapping[int, float]], k: int = 10) -> Float64Array:
    """nDCG@k of each query: (n_queries,); 0 without a grade above 0.

    ``gains``: for each query row -> grade. As :func:`cormorant.eval.measures.evaluate` has it.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    found = np.zeros(len(gains))
    for query, own in enumerate(gains):
        best = np.sort([gain for gain in own.values() if gain > 0])[::-1][:k]
        if not len(best):
            continue
        rows = ranking.rows[query, :k].tolist()
        got = np.array([max(0.0, own.get(row, 0.0)) if row != NO_ROW else 0.0 for row in rows])
        found[query] = (got @ discounts[: len(got)]) / (best @ discounts[: len(best)])
    return found


def fit_adaptive(
    lists: Sequence[RankedList],
    shares: Sequence[float],
    worth: Float64Array,
    favoured: str = "dense",
    folds: int = 5,
    seed: int = 0,
) -> tuple[Adaptive, Float64Array]:
    """The predictor of each query's weight.

    And (n_queries,) for each query the share that one predicts that was fitted without it.
    ``worth``: (n_shares, n_queries), what giving the favoured list a share is worth for a query.
    A query's target is the middle of its best shares, its weight how much the choice matters; ridge
    regression on standardised features, towards the share that is best for all. How much ridge is
    chosen by folds.
    """
    place = favoured_of(lists, favoured)
    features = features_of(lists[place].ranking, lists[1 - place].ranking)
    table, grid_shares = np.asarray(worth, np.float64), np.array(shares)
    parts = split(table.shape[1], folds, seed)
    everyone = np.arange(table.shape[1])
    predicted = {ridge: np.zeros(len(everyone)) for ridge in RIDGES}
    for queries in parts:
        seen = np.setdiff1d(everyone, queries)
        for ridge in RIDGES:
            made = _ridge(features[seen], table[:, seen], grid_shares, ridge)
            predicted[ridge][queries] = np.clip(features[queries] @ made, 0.0, 1.0)
    value = {ridge: _worth_at(table, grid_shares, predicted[ridge]).mean() for ridge in RIDGES}
    best = max(RIDGES, key=lambda ridge: value[ridge])
    coefficients = _ridge(features, table, grid_shares, best)
    return Adaptive(tuple(coefficients.tolist()), favoured), predicted[best]


def _worth_at(table: Float64Array, shares: Float64Array, predicted: Float64Array) -> Float64Array:
    """What the nearest share of the table is worth for each query."""
    nearest = np.abs(shares[:, None] - predicted[None]).argmin(axis=0)
    found: Float64Array = table[nearest, np.arange(table.shape[1])]
    return found


def _ridge(
    features: Float64Array, table: Float64Array, shares: Float64Array, ridge: float
) -> Float64Array:
    """Coefficients of ``FEATURES``, the intercept first."""
    overall = float(shares[table.mean(axis=1).argmax()])
    best = table >= table.max(axis=0) - 1e-9
    target = (shares[:, None] * best).sum(axis=0) / best.sum(axis=0) - overall
    matters = table.max(axis=0) - table.min(axis=0)
    mean, deviation = features[:, 1:].mean(axis=0), features[:, 1:].std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, np.inf)  # what never varies says nothing
    # The ridge draws the constant, too, towards what is best for all.
    z = np.column_stack([np.ones(len(features)), (features[:, 1:] - mean) / scale])
    left = (z * matters[:, None]).T @ z + ridge * np.eye(z.shape[1])
    constant, *rest = np.linalg.solve(left, (z * matters[:, None]).T @ target).tolist()
    slopes = np.array(rest) / scale
    coefficients = np.concatenate([[overall + constant - slopes @ mean], slopes])
    assert len(coefficients) == len(FEATURES)
    return coefficients


def margin_for_cost(confidences: Float64Array, share: float) -> float:
    """The margin of a cascade that defers at most a ``share`` of queries like these.

    ``confidences``: of training queries, as :func:`cormorant.rankers.cascade.confidences` has them.
    """
    if not 0 <= share <= 1:
        raise InputError(f"is from 0 to 1, got {share!r}", field="share")
    ascending = np.sort(confidences)
    deferred = int(share * len(ascending) + 1e-9)
    # A query is deferred below the margin: the first that is not stands at it.
    return 1.0 if deferred >= len(ascending) else float(min(1.0, ascending[deferred]))
