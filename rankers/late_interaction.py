"""Reranking by late interaction: the true MaxSim of a multi-vector index, for anybody's candidates.

The token vectors are in the index already, so nothing is encoded but the query, and no text is
read: the stage asks for the scores of rows, as a fusion does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from ..ranking import Ranking
from ..stages import Budget, Candidates

MAX_DEPTH = 100_000


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """Reorder the first ``depth`` candidates by their MaxSim in a multi-vector index.

    ``index``: its name, or ``muvera`` for the oldest of that kind. A candidate that the index does
    not hold comes last, in the order it had. Khattab and Zaharia, "ColBERT", SIGIR 2020, section
    3.5.
    """

    kind: ClassVar[str] = "late_interaction"
    index: str = "muvera"
    depth: int = 100

    def __post_init__(self) -> None:
        index: Any = self.index
        if not isinstance(index, str) or not index.strip():
            raise InputError(f"is the name of an index, got {index!r}", field="index")
        depth: Any = self.depth
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= MAX_DEPTH:
            raise InputError(f"is an integer from 1 to {MAX_DEPTH:,}, got {depth!r}", field="depth")

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The candidates by the index's scores, of equal scores the lower row first.

        Rows without a score keep their order, behind all others, with -inf.
        """
        width = max((len(item.rows) for item in candidates), default=0)
        ranked = Ranking.empty(len(candidates), width)
        for number, item in enumerate(candidates):
            scores = item.true_scores(self.index)
            known = np.isfinite(scores)
            tie = np.where(known, item.rows, np.arange(len(item.rows)))
            order = np.lexsort((tie, np.where(known, -scores, 0.0), ~known))
            ranked.rows[number, : len(order)] = item.rows[order]
            ranked.scores[number, : len(order)] = np.where(known, scores, -np.inf)[order]
        return ranked
