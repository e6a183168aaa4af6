"""What a sparse index holds of given rows, and its queries, as mappings from terms to weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array
from ...statistics import Statistics
from .segment import SparseSegment
from .weighted import Weighted

Term = str | int


def terms_of_queries(asked: Weighted, weights: Float32Array) -> list[dict[Term, float]]:
    """Each query's terms: tokens where the index has tokens, else numbers."""
    tokens = asked.tokens
    names: list[Term] = asked.terms.tolist()
    if tokens is not None:
        names = [tokens[number] for number in asked.terms.tolist()]
    pairs = list(zip(names, weights.tolist(), strict=True))
    ends = asked.starts.tolist()
    return [dict(pairs[start:end]) for start, end in zip(ends[:-1], ends[1:], strict=True)]


def terms_of_rows(
    segments: Sequence[SparseSegment],
    rows: Int64Array,
    visible: BoolArray | None,
    max_share: float,
) -> list[dict[Term, float]]:
    """Of each of ``rows`` (n,) its terms and weights; none of a row that is not visible.

    Terms that more than ``max_share`` of the visible rows have are left out.
    """
    found: list[dict[Term, float]] = [{} for _ in rows]
    for segment in segments:
        for place, document in enumerate(segment.documents(rows, visible).tolist()):
            if document >= 0:
                vectors = segment.encoded(document).vectors
                own = _as_weighted(vectors)
                found[place] = terms_of_queries(own, own.weights)[0]
    if max_share >= 1 or not any(found):
        return found
    terms = list(dict.fromkeys(term for own in found for term in own))
    return statistics_of(segments, terms, visible).without_common(found, max_share)


def _as_weighted(vectors: object) -> Weighted:
    assert isinstance(vectors, Weighted)
    return vectors


def statistics_of(
    segments: Sequence[SparseSegment], terms: Sequence[Term], visible: BoolArray | None
) -> Statistics:
    """How many rows are visible, and how many of them hold each of some terms."""
    n_rows, counts = 0, np.zeros(len(terms), np.int64)
    for segment in segments:
        if not len(segment.rows):
            continue
        n, frequencies = _frequencies(segment, visible)
        n_rows += n
        tokens = tuple(str(term) for term in terms) if segment.tokens is not None else None
        numbers = np.arange(len(terms)) if tokens is not None else np.array(terms, np.int64)
        places = segment.vocabulary.find(numbers, tokens)
        counts[places >= 0] += frequencies[places[places >= 0]]
    return Statistics(n_rows, 0, dict(zip(terms, counts.tolist(), strict=True)))


def _frequencies(segment: SparseSegment, visible: BoolArray | None) -> tuple[int, Int64Array]:
    """How many rows are visible, and how many of them have each term: (v,) int64."""
    impacts = segment.impacts
    terms = impacts.terms
    n_rows = len(segment.rows)
    if visible is not None:
        own = visible[segment.rows]
        n_rows = int(np.count_nonzero(own))
        terms = terms[np.repeat(own, np.diff(impacts.starts))]
    return n_rows, np.bincount(terms, minlength=segment.vocabulary.size).astype(np.int64)
