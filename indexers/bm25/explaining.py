"""Why a document has its score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...documents import JsonObject
from ...kernels.bm25.layout import REPEATED, Postings
from ...kernels.bm25.reference import gain

if TYPE_CHECKING:
    from .index import Asked


def explain(postings: Postings, asked: Asked, segment: int, document: int) -> JsonObject:
    """The score of a document for the first of the queries, term by term."""
    norm = asked.saturation.norm_base + asked.saturation.norm_slope * float(
        postings.lengths[document]
    )
    names = asked.names
    explained = []
    for place, count, weight in zip(
        asked.places.tolist(), asked.counts.tolist(), asked.weights.tolist(), strict=True
    ):
        tf = frequency(postings, int(asked.numbers[segment][place]), document)
        idf = float(asked.idfs[place])
        score = asked.constant_of_idf * idf * count
        if tf:
            score += weight * float(gain(np.array(float(tf)), np.array(norm), asked.saturation))
        explained.append(
            {
                "term": names[place],
                "count": count,
                "tf": tf,
                "df": int(asked.frequencies[place]),
                "idf": idf,
                "score": score,
            }
        )
    if not any(term["tf"] for term in explained):
        explained = [{**term, "score": 0.0} for term in explained]
    return {
        "score": sum(term["score"] for term in explained),
        "length": int(postings.lengths[document]),
        "average_length": asked.average_length,
        "documents": asked.n_documents,
        "terms": explained,
    }


def frequency(postings: Postings, term: int, document: int) -> int:
    """How often a document has a term; -1 is a term that none has."""
    own = slice(postings.document_offsets[document], postings.document_offsets[document + 1])
    entries = postings.document_terms[own]
    if term < 0 or not ((entries & ~REPEATED) == term).any():
        return 0
    repeats = slice(postings.repeat_offsets[term], postings.repeat_offsets[term + 1])
    found = postings.repeat_counts[repeats][postings.repeat_documents[repeats] == document]
    return int(found[0]) if len(found) else 1
