"""Impacts, obvious and slow: the specification that the fast versions are tested against."""

from __future__ import annotations

import numpy as np

from .layout import Best, Effort, Float32Array, Impacts, Int64Array, Queries, UInt64Array


def scores_of_all(impacts: Impacts, queries: Queries, query: int) -> Float32Array:
    """The score of every document, by number: (n,) float32, -inf where it shares no term."""
    n = len(impacts.rows)
    owners = np.repeat(np.arange(n), np.diff(impacts.starts))
    scores, shares = np.zeros(n), np.zeros(n, np.bool_)
    own = slice(queries.offsets[query], queries.offsets[query + 1])
    for term, weight in sorted(zip(queries.terms[own], queries.weights[own], strict=True)):
        of_term = impacts.terms == term
        holders = owners[of_term]
        scores[holders] += np.float64(weight) * impacts.weights[of_term].astype(np.float64)
        shares[holders] = True
    return np.where(shares, scores, -np.inf).astype(np.float32)


def search(
    impacts: Impacts, queries: Queries, effort: Effort, allowed: UInt64Array, best: Best
) -> None:
    """As :func:`cormorant.kernels.postings.cpu.search`, exact whatever the effort, and sorted."""
    for query in range(len(queries.offsets) - 1):
        scores = scores_of_all(impacts, queries, query)
        if len(allowed):
            bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")
            scores[bits[: len(scores)] == 0] = -np.inf
        hits = scores > -np.inf
        before = slice(0, best.sizes[query])
        all_rows = np.concatenate([best.rows[query, before], impacts.rows[hits]])
        all_scores = np.concatenate([best.scores[query, before], scores[hits]])
        order = np.lexsort((all_rows, -all_scores))[: best.rows.shape[1]]
        best.rows[query, : len(order)] = all_rows[order]
        best.scores[query, : len(order)] = all_scores[order]
        best.sizes[query] = len(order)


def score(impacts: Impacts, queries: Queries, documents: Int64Array, scores: Float32Array) -> None:
    """As :func:`cormorant.kernels.postings.scoring.score`."""
    for query in range(len(queries.offsets) - 1):
        everyone = scores_of_all(impacts, queries, query)
        everyone[everyone == -np.inf] = 0.0
        given = documents[query] >= 0
        scores[query, given] = everyone[documents[query, given]]
