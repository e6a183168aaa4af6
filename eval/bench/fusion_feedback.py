"""How much feedback counts beside the query, from judgements; and where lists are fused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contracts import Int64Array
from ...rankers.checks import INTERPOLATE
from ...rankers.convex import Convex
from ...rankers.term_feedback import RM3, Rocchio
from ...rankers.vector_feedback import METHODS, VectorPRF
from ...retrieval.pipeline import DEFAULT_DEPTH, Pipeline
from ...stages import Feedback
from ..result import EvalResult
from .fusion_results import DEPTH, Choice, Searched

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the new query, what the documents found first are given."""


def feedbacks() -> dict[str, Pipeline]:
    """Each feedback on its index alone, and on both under convex fusion: before, after, both."""
    found = {
        "bm25+rm3": Pipeline("bm25", feedback=RM3()),
        "bm25+rocchio": Pipeline("bm25", feedback=Rocchio()),
    }
    for method in METHODS:
        found[f"dense+prf.{method}"] = Pipeline("dense", feedback=VectorPRF(method=method))
    for where in INTERPOLATE:
        for method in METHODS:
            vectors = VectorPRF(method=method, interpolate=where)
            found[f"hybrid+prf.{method}.{where}"] = _hybrid(vectors)
        terms = RM3(interpolate=where)
        found[f"hybrid+rm3.{where}"] = _hybrid(terms)
        found[f"hybrid+rocchio.{where}"] = _hybrid(Rocchio(interpolate=where))
        if where != "before":
            found[f"hybrid+prf+rm3.{where}"] = _hybrid(VectorPRF(interpolate=where), terms)
    return found


def tuned_feedback(asked: Searched, trained: Searched) -> list[EvalResult]:
    """Vector-PRF by Rocchio, and RM3, with the best share of feedback."""
    results = []
    for where in INTERPOLATE:
        vectors = [
            VectorPRF(alpha=round(1 - share, 1), beta=share, interpolate=where) for share in SHARES
        ]
        terms = [RM3(original=round(1 - share, 1), interpolate=where) for share in SHARES]
        results.append(_tuned(asked, trained, f"tuned.prf.rocchio.{where}", vectors))
        results.append(_tuned(asked, trained, f"tuned.rm3.{where}", terms))
    return results


def _tuned(asked: Searched, trained: Searched, name: str, stages: Sequence[Feedback]) -> EvalResult:
    pipelines = [_hybrid(stage, depth=DEPTH) for stage in stages]

    def choose(seen: Int64Array) -> Choice:
        worth = [float(trained.values(pipeline)[seen].mean()) for pipeline in pipelines]
        best = int(np.argmax(worth))
        return pipelines[best], f"{SHARES[best]:.1f}; training {worth[best]:.4f}"

    return asked.chosen(name, choose, trained)


def _hybrid(*stages: Feedback, depth: int = DEFAULT_DEPTH) -> Pipeline:
    return Pipeline(["bm25", "dense"], Convex(), stages, depth=depth)
