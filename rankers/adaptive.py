"""Convex combination of two lists with a weight for each query, predicted from the lists alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import InputError
from ..ranking import NO_ROW, Ranking
from ..stages import RankedList
from .by_score import ScoreFusion
from .candidates import Float64Array
from .checks import check_name, check_number

STATISTICS = ("top", "gap", "spread", "fill")
FEATURES = (
    "intercept",
    *(f"{which}_{name}" for which in ("favoured", "other") for name in STATISTICS),
    "overlap_10",
    "overlap_100",
)
_TOP, _LIST = 10, 100


@dataclass(frozen=True, slots=True)
class Adaptive(ScoreFusion):
    """Convex combination whose weights are each query's own.

    The share of the list ``favoured`` (the name of its index, or its kind) is a linear function of
    what the two lists look like, cut to 0..1; the other list has the rest. ``coefficients``: one
    for each of ``FEATURES``, as :func:`cormorant.eval.tuning.fit_adaptive` finds them on training
    queries. For each list, of its first 100 scores:

    * ``top``: log(1 + the highest score);
    * ``gap``: how far the first stands above the mean of the nine behind it, by the first;
    * ``spread``: their standard deviation, by the first;
    * ``fill``: log(1 + how many there are), by log(101);

    and of both: ``overlap_10`` and ``overlap_100``, how many of the first 10 and 100 they share.
    Of an empty list all are 0. Scores are normalised, and missing ones found, as in
    :class:`~cormorant.rankers.convex.Convex`.

    What there is to win: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid
    Retrieval", TOIS 2023, whose best weight of each query is .035 to .095 nDCG above one for all.
    """

    kind: ClassVar[str] = "adaptive"
    coefficients: tuple[float, ...]
    favoured: str = "dense"
    norm: str = "tmm"
    missing: str = "computed"

    def __post_init__(self) -> None:
        ScoreFusion.__post_init__(self)
        check_name("favoured", self.favoured)
        if len(self.coefficients) != len(FEATURES):
            raise InputError(
                f"is one number for each of {', '.join(FEATURES)}; got {len(self.coefficients)}",
                field="coefficients",
            )
        for value in self.coefficients:
            check_number("coefficients", value, -1e6, 1e6)
        object.__setattr__(self, "coefficients", tuple(map(float, self.coefficients)))

    def list_weights(self, lists: Sequence[RankedList]) -> Float64Array:
        """The share of each list: (2, n_queries) float64.

        Raises :class:`~cormorant.errors.InputError` unless there are two lists, one favoured.
        """
        place = favoured_of(lists, self.favoured)
        features = features_of(lists[place].ranking, lists[1 - place].ranking)
        share = np.clip(features @ np.array(self.coefficients), 0.0, 1.0)
        weights = np.empty((2, len(share)))
        weights[place], weights[1 - place] = share, 1.0 - share
        return weights


def favoured_of(lists: Sequence[RankedList], name: str) -> int:
    """Which of two lists is the one of that name, or else of that kind."""
    if len(lists) == 2:
        for names in ([item.index for item in lists], [item.kind for item in lists]):
            if names.count(name) == 1:
                return names.index(name)
    there = ", ".join(f"{item.index} ({item.kind})" for item in lists)
    raise InputError(f"is one of two lists, got {name!r} of {there}", field="favoured")


def features_of(favoured: Ranking, other: Ranking) -> Float64Array:
    """What two lists look like: (n_queries, len(FEATURES)) float64, each finite."""
    columns = [np.ones(favoured.n_queries)]
    for ranking in (favoured, other):
        columns += _statistics(ranking)
    columns += [_overlap(favoured, other, _TOP), _overlap(favoured, other, _LIST)]
    return np.stack(columns, axis=1)


def _statistics(ranking: Ranking) -> list[Float64Array]:
    head = ranking.cut(_LIST)
    there = (head.rows != NO_ROW) & np.isfinite(head.scores)
    scores = np.where(there, head.scores, 0.0).astype(np.float64)
    n = there.sum(axis=1)
    if not head.depth:
        return [np.zeros(ranking.n_queries)] * len(STATISTICS)
    first = scores[:, 0]
    size = np.where(np.abs(first) > 1e-9, np.abs(first), 1.0)
    behind = there[:, 1:_TOP]
    mean = scores[:, 1:_TOP].sum(axis=1) / np.maximum(behind.sum(axis=1), 1)
    gap = np.where(behind.any(axis=1), (first - mean) / size, 0.0)
    centre = scores.sum(axis=1) / np.maximum(n, 1)
    squares = np.where(there, scores - centre[:, None], 0.0) ** 2
    spread = np.sqrt(squares.sum(axis=1) / np.maximum(n, 1)) / size
    return [
        np.log1p(np.maximum(first, 0.0)),
        gap,
        spread,
        np.log1p(n) / np.log1p(_LIST),
    ]


def _overlap(one: Ranking, other: Ranking, depth: int) -> Float64Array:
    """The share of the first ``depth`` rows that both lists have: (n_queries,) float64."""
    a, b = one.rows[:, :depth, None], other.rows[:, None, :depth]
    shared: Float64Array = ((a == b) & (a != NO_ROW)).sum(axis=(1, 2)) / depth
    return shared
