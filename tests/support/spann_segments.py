"""Spann segments without a collection: built of vectors, merged, and their recall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed
from cormorant.documents import Chunk
from cormorant.indexers.dense.vectors import pack
from cormorant.indexers.spann.index import SpannIndex
from cormorant.indexers.spann.segment import SpannSegment
from cormorant.retrieval.segments import MemorySink

SETTINGS = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)
LEAST = 0.935
"""Of a target of .95: 192 samples and 300 queries know a recall to about .006 each."""


class Files(MemorySink):
    """As if it were for files."""

    lasting = True


def chunks_of(vectors: np.ndarray, rows: np.ndarray) -> list[Chunk]:
    packed = pack(vectors[rows], np.zeros(len(rows), np.bool_))
    return [
        Chunk(row, row, f"d{row}", "", "")._replace(encoding=encoding)
        for row, encoding in zip(rows.tolist(), packed, strict=True)
    ]


def segment_of(
    index: SpannIndex, vectors: np.ndarray, rows: np.ndarray | None = None
) -> SpannSegment:
    sink = Files()
    rows = np.arange(len(vectors)) if rows is None else rows
    return index.open(sink.arrays, index.build(chunks_of(vectors, rows), sink))


def merged(
    index: SpannIndex, segments: Sequence[SpannSegment], keep: Sequence[np.ndarray | None]
) -> SpannSegment:
    sink = Files()
    return index.open(sink.arrays, index.merge(segments, keep, sink))


def clustered(n: int, dim: int, seed: int = 0, similarity: str = "cosine") -> np.ndarray:
    """Skewed clusters; of length 1 for the cosine."""
    random = np.random.default_rng(99)
    centres = random.standard_normal((20, dim))
    random = np.random.default_rng(seed)
    owners = np.minimum(random.geometric(0.15, n) - 1, 19)
    vectors = centres[owners] + 0.6 * random.standard_normal((n, dim))
    if similarity == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray, similarity: str) -> np.ndarray:
    """True scores, float64: (n_queries, n)."""
    asked, held = queries.astype(float), vectors.astype(float)
    products = asked @ held.T
    if similarity != "l2":
        return products
    return 2 * products - (asked**2).sum(1)[:, None] - (held**2).sum(1)


def recall(
    index: SpannIndex,
    segments: Sequence[SpannSegment],
    vectors: np.ndarray,
    allowed: Allowed = EVERYTHING,
    k: int = 10,
    n_queries: int = 300,
) -> float:
    """Share of the k best of some queries; every score that is given is checked."""
    similarity = index.spann.similarity
    queries = clustered(n_queries, vectors.shape[1], seed=9, similarity=similarity)
    exact = truth(vectors, queries, similarity)
    held = np.zeros(len(vectors), np.bool_)
    held[np.concatenate([segment.rows for segment in segments])] = True
    for mask in allowed:
        if mask is not None:
            held &= mask
    ranking = index.search(segments, queries, k, allowed)
    here = ranking.rows >= 0
    assert np.all(here.sum(axis=1) == min(k, held.sum()))
    assert held[ranking.rows[here]].all()
    for row, scores, own in zip(ranking.rows, ranking.scores, exact, strict=True):
        there = row >= 0
        assert np.allclose(scores[there], own[row[there]], rtol=2e-6, atol=1e-6)
        assert len(set(row[there].tolist())) == there.sum()
        assert np.all(np.diff(scores[there]) <= 0)
    if not held.any():
        return 1.0
    best = np.sort(np.where(held, exact, -np.inf), axis=1)[:, ::-1][:, : min(k, held.sum())]
    near = ranking.scores[:, : best.shape[1]] >= best[:, -1:] - 1e-5
    return float(near.mean())


VECTORS = {kind: clustered(3000, 24, similarity=kind) for kind in ("cosine", "dot", "l2")}
