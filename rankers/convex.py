"""Convex combination: a weighted sum of every list's normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import InputError
from ..stages import RankedList
from .by_score import ScoreFusion
from .candidates import Float64Array
from .weights import checked_weights, one_for_each, shares

# nDCG@10 on the 2,590 training queries of NFCorpus, vectors of all-MiniLM-L6-v2 with exact cosine,
# by the weight of dense: 0 .322, 0.5 .345, 0.7 .356, 0.75 .357, 0.8 .359, 0.85 .358, 0.9 .353,
# 1 .321; depths 100 and 1000 agree to four digits from 0.05 up; RRF() .347. The paper's choice,
# too, is 0.8. The best weight belongs to the norm: under minmax it is 0.5 to 0.6 (.356).
DEFAULT_WEIGHTS = {"bm25": 0.2, "dense": 0.8}


@dataclass(frozen=True, slots=True)
class Convex(ScoreFusion):
    """Convex combination of normalised scores.

    ``weights``: one for each list, in the pipeline's order; they are divided by their sum. None:
    for one list of kind bm25 and one of kind dense those that were best on training queries
    (``DEFAULT_WEIGHTS``, under ``tmm`` with both bounds known), else equal shares.

    ``norm`` maps each list's scores of a query to a common scale. Two map to 0..1, by ``(score -
    lowest) / (highest - lowest)``:

    * ``tmm``: ``lowest`` is the least that a score of that index can be (0 for BM25, -1 for a
      cosine), or where there is no such bound, as in minmax;
    * ``minmax``: ``lowest`` is the least score among the query's candidates;

    and two by how scores are spread (:mod:`cormorant.rankers.norms`): ``zscore`` and ``dbsf``.

    ``missing`` says what a candidate gets of a list that lacks it; candidates are all rows that any
    list holds:

    * ``computed``: what its **true score** by that index gets. So under a bound the depth decides
      which rows are candidates, and nothing else about their scores;
    * ``zero``: 0, which is what the least score of the scale gets;
    * ``dropped``: it is no candidate.

    * A row that an index does not hold, or that scores -inf, gets 0 of that list. So does a score
      below the bound (a cosine of -1.0000001).
    * A list that is empty for a query adds 0 to every row and is not asked for true scores. Where
      all lists are empty the answer is.
    * Where all candidates score the same in a list (a list of one row, say), each gets 1, as does
      the best of any other list; but 0 where that score is the index's lowest. Nothing is divided.
    * Of equal fused scores the lower row comes first.

    Source: Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023
    (its TM2C2).
    """

    kind: ClassVar[str] = "convex"
    weights: tuple[float, ...] | None = None
    norm: str = "tmm"
    missing: str = "computed"

    def __post_init__(self) -> None:
        ScoreFusion.__post_init__(self)
        if self.weights is not None:
            object.__setattr__(self, "weights", checked_weights(self.weights))
            if not self.weights:
                raise InputError("names no weight; leave it out for the default", field="weights")

    def list_weights(self, lists: Sequence[RankedList]) -> Float64Array:
        """The share of each list: (n_lists, 1) float64."""
        return np.array(self._weights(lists))[:, None]

    def _weights(self, lists: Sequence[RankedList]) -> tuple[float, ...]:
        if self.weights is not None:
            return shares(one_for_each(self.weights, lists))
        kinds = [item.kind for item in lists]
        bounded = self.norm == "tmm" and all(item.lowest_score is not None for item in lists)
        if bounded and sorted(kinds) == sorted(DEFAULT_WEIGHTS):
            return tuple(DEFAULT_WEIGHTS[kind] for kind in kinds)
        return shares([1.0] * len(kinds))
