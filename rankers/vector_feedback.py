"""Pseudo relevance feedback by vectors: the query moves towards the best documents' vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..contracts import Float32Array
from ..stages import Evidence
from .checks import check_choice, check_feedback, check_number

METHODS = ("rocchio", "average")


@dataclass(frozen=True, slots=True)
class VectorPRF:
    """Vector-PRF: a dense index is asked again with a better vector.

    ``average``: the mean of the query's vector and those of the ``depth`` best documents;
    ``rocchio``: ``alpha`` times the query's and ``beta`` times the documents' mean. The index
    brings the result back to length 1 where its similarity is the cosine. ``interpolate``: see
    :class:`~cormorant.stages.Feedback`. A query without any document stays as it is; a document
    that the index does not hold does not count. No text is read and nothing is encoded.

    Source: Li, Mourad, Zhuang, Koopman and Zuccon, "Pseudo Relevance Feedback with Deep Language
    Models and Dense Retrievers: Successes and Pitfalls", TOIS 2023, equations 4 and 5.
    """

    kind: ClassVar[str] = "vector_prf"
    index: str = "dense"
    method: str = "rocchio"
    depth: int = 3
    alpha: float = 0.9
    beta: float = 0.1
    interpolate: str = "both"

    def __post_init__(self) -> None:
        check_feedback(self.index, self.depth, self.interpolate)
        check_choice("method", self.method, METHODS)
        check_number("alpha", self.alpha, 0, 1e6)
        check_number("beta", self.beta, 0, 1e6)

    def expand(self, evidence: Evidence) -> Float32Array:
        """New vectors of the queries: (n_queries, dim) float32."""
        asked = evidence.query_vectors().astype(np.float64)
        for number, item in enumerate(evidence.candidates):
            found = evidence.row_vectors(item.rows).astype(np.float64)
            found = found[~np.isnan(found).any(axis=1)]
            if not len(found):
                continue
            if self.method == "average":
                moved = (asked[number] + found.sum(axis=0)) / (1 + len(found))
            else:
                moved = self.alpha * asked[number] + self.beta * found.mean(axis=0)
            if moved.any():  # opposite vectors cancel out; nothing can be searched with zero
                asked[number] = moved
        return asked.astype(np.float32)
