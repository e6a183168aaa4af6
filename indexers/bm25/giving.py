"""What a BM25 index holds of given rows: their terms and how often they have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contracts import Int64Array
from ...kernels.bm25.layout import REPEATED, Postings
from ...statistics import Statistics
from .asking import pack
from .segment import BM25Segment, View


def terms_of_rows(
    segments: Sequence[BM25Segment], views: Sequence[View], rows: Int64Array, max_share: float
) -> list[dict[str, float]]:
    """Of each of ``rows`` (n,) its terms and their counts; none of a row that is not in view.

    Terms that more than ``max_share`` of the documents in view have are left out.
    """
    found: list[dict[str, float]] = [{} for _ in rows]
    for segment, view in zip(segments, views, strict=True):
        numbers = segment.documents(rows, view).tolist()
        for place, number in enumerate(numbers):
            if number >= 0:
                found[place] = _terms_of(segment.postings, number)
    names = list(dict.fromkeys(name for own in found for name in own))
    if max_share >= 1 or not names:
        return found
    return statistics_of(segments, views, names).without_common(found, max_share)


def _terms_of(postings: Postings, document: int) -> dict[str, float]:
    p = postings
    entries = p.document_terms[p.document_offsets[document] : p.document_offsets[document + 1]]
    terms = (entries & ~REPEATED).astype(np.int64)
    counts = np.ones(len(terms))
    for place in np.flatnonzero(entries & REPEATED).tolist():
        first, end = p.repeat_offsets[terms[place]], p.repeat_offsets[terms[place] + 1]
        here = first + np.searchsorted(p.repeat_documents[first:end], document)
        counts[place] = p.repeat_counts[here]
    begins, ends = p.vocabulary_offsets[terms].tolist(), p.vocabulary_offsets[terms + 1].tolist()
    return {
        p.vocabulary[begin:end].tobytes().decode(): count
        for begin, end, count in zip(begins, ends, counts.tolist(), strict=True)
    }


def statistics_of(
    segments: Sequence[BM25Segment], views: Sequence[View], names: Sequence[str]
) -> Statistics:
    """Those of the documents in view, for terms named."""
    packed, offsets = pack(names)
    frequencies = np.zeros(len(names), np.int64)
    for segment, view in zip(segments, views, strict=True):
        frequencies += view.document_frequencies(segment.find(packed, offsets))
    return Statistics(
        sum(view.n_documents for view in views),
        sum(view.total_length for view in views),
        dict(zip(names, frequencies.tolist(), strict=True)),
    )
