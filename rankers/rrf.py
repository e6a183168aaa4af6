"""Reciprocal rank fusion: what each list's order says, whatever its scores are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .by_rank import RankFusion
from .candidates import Candidates, Float64Array
from .checks import check_integer


@dataclass(frozen=True, slots=True)
class RRF(RankFusion):
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
        check_integer("k", self.k, 0, 1_000_000)
        RankFusion.__post_init__(self)

    def worth(self, block: Candidates) -> Float64Array:
        """``1 / (k + rank)``."""
        reciprocal: Float64Array = 1.0 / (self.k + block.values.astype(np.float64))
        return reciprocal
