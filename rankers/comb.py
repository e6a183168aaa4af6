"""CombSUM and CombMNZ: sums of normalised scores, as they were before anybody weighed lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..stages import RankedList
from .by_score import ScoreFusion
from .candidates import Candidates, Float64Array
from .weights import checked_weights, one_for_each


@dataclass(frozen=True, slots=True)
class CombSUM(ScoreFusion):
    """The sum of every list's normalised scores.

    ``norm`` and ``missing`` as :class:`~cormorant.rankers.convex.Convex` has them; published
    is min-max, and 0 of a list that lacks a row (so its last row gets as much as one that it
    lacks). ``weights``: one for each list; empty: each counts 1.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2, 1994.
    """

    kind: ClassVar[str] = "comb_sum"
    norm: str = "minmax"
    missing: str = "zero"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ScoreFusion.__post_init__(self)
        object.__setattr__(self, "weights", checked_weights(self.weights))

    def list_weights(self, lists: Sequence[RankedList]) -> Float64Array:
        """What each list counts: (n_lists, 1) float64."""
        return np.array(one_for_each(self.weights or (1.0,) * len(lists), lists))[:, None]


@dataclass(frozen=True, slots=True)
class CombMNZ(CombSUM):
    """CombSUM times the number of lists that hold the row ("multiply by those not zero").

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2, 1994.
    """

    kind: ClassVar[str] = "comb_mnz"

    def counted(self, parts: Float64Array, block: Candidates) -> Float64Array:
        """The parts, each times the number of lists that hold its row."""
        holding = (block.values > -np.inf).sum(axis=0)  # NaN is not
        multiplied: Float64Array = parts * holding
        return multiplied
