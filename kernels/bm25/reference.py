"""BM25, obvious and slow: the specification that the fast version is tested against."""

from __future__ import annotations

import numpy as np

from .layout import (
    REPEATED,
    Best,
    Float32Array,
    Float64Array,
    Int64Array,
    Postings,
    Queries,
    Saturation,
    UInt64Array,
)


def gain(tf: Float64Array, norm: Float64Array, saturation: Saturation) -> Float64Array:
    """What a term's weight is multiplied by; shapes broadcast."""
    saturated = tf / (tf + norm)
    if not saturation.linear:
        return saturated
    return tf * (saturation.share + (1.0 - saturation.share) * saturated)


def term_frequencies(postings: Postings, term: int) -> Float64Array:
    """How often each document has a term: (n,) float64."""
    owners = np.repeat(np.arange(len(postings.rows)), np.diff(postings.document_offsets))
    tf = np.zeros(len(postings.rows))
    tf[owners[(postings.document_terms & ~REPEATED) == term]] = 1.0
    repeats = slice(postings.repeat_offsets[term], postings.repeat_offsets[term + 1])
    tf[postings.repeat_documents[repeats]] = postings.repeat_counts[repeats]
    return tf


def scores_of_all(
    postings: Postings, queries: Queries, saturation: Saturation, query: int
) -> Float32Array:
    """The score of every document, by number: (n,) float32, -inf where it has no term."""
    norm = saturation.norm_base + saturation.norm_slope * postings.lengths.astype(np.float64)
    scores, shares = np.zeros(len(norm)), np.zeros(len(norm), np.bool_)
    own = slice(queries.offsets[query], queries.offsets[query + 1])
    for term, weight in sorted(zip(queries.terms[own], queries.weights[own], strict=True)):
        if term >= 0:
            tf = term_frequencies(postings, term)
            has = tf > 0
            scores[has] += weight * gain(tf[has], norm[has], saturation)
            shares |= has
    return np.where(shares, scores + queries.constants[query], -np.inf).astype(np.float32)


def search(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    allowed: UInt64Array,
    best: Best,
) -> None:
    """As :func:`cormorant.kernels.bm25.cpu.search`; ``best`` comes out sorted."""
    rows = postings.rows[postings.positions]
    for query in range(len(queries.offsets) - 1):
        scores = scores_of_all(postings, queries, saturation, query)
        if len(allowed):
            bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")
            scores[bits[: len(scores)] == 0] = -np.inf
        hits = scores > -np.inf
        before = slice(0, best.sizes[query])
        all_rows = np.concatenate([best.rows[query, before], rows[hits]])
        all_scores = np.concatenate([best.scores[query, before], scores[hits]])
        order = np.lexsort((all_rows, -all_scores))[: best.rows.shape[1]]
        best.rows[query, : len(order)] = all_rows[order]
        best.scores[query, : len(order)] = all_scores[order]
        best.sizes[query] = len(order)


def score(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    documents: Int64Array,
    scores: Float32Array,
) -> None:
    """As :func:`cormorant.kernels.bm25.cpu.score`."""
    for query in range(len(queries.offsets) - 1):
        everyone = scores_of_all(postings, queries, saturation, query)
        everyone[everyone == -np.inf] = 0.0
        given = documents[query] >= 0
        scores[query, given] = everyone[documents[query, given]]
