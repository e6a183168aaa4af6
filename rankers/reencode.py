"""Reranking by an index's own encoder, which reads the candidates' passages now.

For an index that never encoded its documents (``Sparse(documents="tokens")``): a first stage over
bags of tokens, and only what it finds goes through the model. Zhou et al., "Semi-parametric
retrieval via binary bag-of-tokens index", 2024, call that beta search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..ranking import Ranking
from ..stages import Budget, Candidates
from .checks import check_depth, check_name


@dataclass(frozen=True, slots=True)
class Reencode:
    """Reorder the first ``depth`` candidates by their passages' vectors, made for this query.

    ``index``: whose encoder, by its name or kind. Of equal scores the lower row comes first.
    """

    kind: ClassVar[str] = "reencode"
    index: str = "sparse"
    depth: int = 100

    def __post_init__(self) -> None:
        check_name("index", self.index)
        check_depth(self.depth)

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The candidates by the inner products of the query's vector and theirs."""
        width = max((len(item.rows) for item in candidates), default=0)
        ranked = Ranking.empty(len(candidates), width)
        for number, item in enumerate(candidates):
            if len(item.rows):
                scores = item.encoded_scores(self.index)
                order = np.lexsort((item.rows, -scores))
                ranked.rows[number, : len(order)] = item.rows[order]
                ranked.scores[number, : len(order)] = scores[order]
        return ranked
