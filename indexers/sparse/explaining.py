"""Why a document has its score, and what it is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...documents import JsonObject
from ...kernels.postings.layout import Queries
from .segment import SparseSegment

STRONGEST = 10


def explain(
    segment: SparseSegment, query: Queries, document: int, names: Sequence[str] | None
) -> JsonObject:
    """The score of a document for the first of the queries, term by term."""
    p = segment.impacts
    own = slice(p.starts[document], p.starts[document + 1])
    weights = dict(zip(p.terms[own].tolist(), p.weights[own].tolist(), strict=True))
    asked = slice(query.offsets[0], query.offsets[1])
    matched = []
    for term, weight in sorted(
        zip(query.terms[asked].tolist(), query.weights[asked].tolist(), strict=True)
    ):
        if term in weights:
            matched.append(
                {
                    "term": name_of(segment, term, names),
                    "query_weight": weight,
                    "document_weight": weights[term],
                    "score": weight * weights[term],
                }
            )
    return {
        "score": sum(term["score"] for term in matched),
        "matched": matched,
        "strongest": dict(strongest(segment, document, names, STRONGEST)),
        "n_terms": len(weights),
    }


def strongest(
    segment: SparseSegment, document: int, names: Sequence[str] | None, top: int | None
) -> list[tuple[str, float]]:
    """A document's heaviest terms, heaviest first, or all."""
    p = segment.impacts
    own = slice(p.starts[document], p.starts[document + 1])
    terms, weights = p.terms[own], p.weights[own]
    order = np.argsort(-weights, kind="stable")[:top]
    return [
        (name_of(segment, int(term), names), float(weight))
        for term, weight in zip(terms[order], weights[order], strict=True)
    ]


def name_of(segment: SparseSegment, term: int, names: Sequence[str] | None) -> str:
    """What a term of a segment is called: its token, or its number where that is all there is."""
    if segment.tokens is not None:
        return segment.tokens[term]
    number = int(segment.vocabulary.numbers[term])
    if names is None:
        return str(number)
    # A model's vocabulary may have numbers without a token; no token has a space.
    return (names[number] if number < len(names) else "") or f"term {number}"
