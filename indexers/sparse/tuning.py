"""How much effort finds how many of the true hits: measured on samples when a segment is written.

No one knows the queries that will come, so samples are made of the segment's own documents, two
kinds of them: ``flat`` ones ask for a few of a document's terms, mostly its heaviest, each
weighted by how rare it is, as an inference-free encoder does; ``broad`` ones ask for many with the
document's own weights, as SPLADE does. The document a query was made of is no hit of it. An index
whose encoder is known to make one kind is measured on that; else the worse of the two counts.
"""

from __future__ import annotations

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...kernels.bm25.heaps import sort_best_first
from ...kernels.postings import cpu
from ...kernels.postings.layout import EXACT, Effort, Impacts, Queries, no_best

LEVELS = (
    EXACT,
    Effort(0.5, 0.9),
    Effort(0.7, 0.87),
    Effort(0.9, 0.86),
    Effort(1.1, 0.84),
    Effort(1.3, 0.82),
    Effort(1.5, 0.8),
    Effort(1.7, 0.8),
    Effort(2.0, 0.78),
    Effort(2.4, 0.76),
    Effort(2.8, 0.74),
)
"""From all effort to little. What a level means is kept by its number: add at the end."""
LEAST_ROWS = 20_000
"""Smaller segments are searched exactly anyhow."""
SAMPLES = 256
DEPTH = 10
FLAT_TERMS = (4, 14)
BROAD_TERMS = (20, 45)
SEED = 5


def measure(impacts: Impacts, flat: bool | None) -> list[float]:
    """Recall at 10 of each level, the first being 1; empty where all searches are exact.

    ``flat``: which kind of queries will come; None: either.
    """
    n = len(impacts.rows)
    if n < LEAST_ROWS or not len(impacts.terms):
        return []
    kinds = (True, False) if flat is None else (flat,)
    recalls = np.ones(len(LEVELS))
    for kind in kinds:
        queries, sources = sample(impacts, kind)
        truth = _found(impacts, queries, EXACT, sources)
        for number, level in enumerate(LEVELS[1:], 1):
            own = _found(impacts, queries, level, sources)
            shares = [len(set(a) & set(b)) / len(b) for a, b in zip(own, truth, strict=True) if b]
            recalls[number] = min(recalls[number], float(np.mean(shares)) if shares else 1.0)
    return [round(float(value), 4) for value in np.minimum.accumulate(recalls)]


def level_for(recalls: list[float], target: float | None) -> int:
    """The level of least effort that reached a recall; 0, which is exact, without a target."""
    if target is None:
        return 0
    return max((number for number, value in enumerate(recalls) if value >= target), default=0)


def sample(impacts: Impacts, flat: bool) -> tuple[Queries, Int64Array]:
    """Queries, and the rows of the documents that they were made of: (n_queries,) int64."""
    random = np.random.default_rng(SEED)
    n = len(impacts.rows)
    documents = random.choice(n, min(n, SAMPLES), replace=False)
    low, high = FLAT_TERMS if flat else BROAD_TERMS
    terms: list[Int64Array] = [np.zeros(0, np.int64)]
    weights: list[Float32Array] = [np.zeros(0, np.float32)]
    sizes = [0]
    for document in documents:
        own = slice(impacts.starts[document], impacts.starts[document + 1])
        there, values = impacts.terms[own].astype(np.int64), impacts.weights[own]
        size = min(len(there), int(random.integers(low, high)))
        chances = values.astype(np.float64) ** 2
        if size:
            chosen = np.sort(
                random.choice(len(there), size, replace=False, p=chances / chances.sum())
            )
            there, values = there[chosen], values[chosen]
        if flat:
            values = rarity(n, impacts.frequencies[there].astype(np.int64)).astype(np.float32)
        terms.append(there)
        weights.append(values)
        sizes.append(size)
    queries = Queries(np.concatenate(terms), np.concatenate(weights), np.cumsum(sizes))
    return queries, impacts.rows[documents]


def rarity(n_texts: int, frequencies: Int64Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """BM25's idf, ln(1 + (N - df + 0.5) / (df + 0.5)), above 0: (m,) float64."""
    df = frequencies.astype(np.float64)
    return np.log1p((n_texts - df + 0.5) / (df + 0.5))


def _found(
    impacts: Impacts, queries: Queries, effort: Effort, sources: Int64Array
) -> list[list[int]]:
    best = no_best(len(queries.offsets) - 1, DEPTH + 1)
    cpu.search(impacts, queries, effort, np.zeros(0, np.uint64), best)
    sort_best_first(best)
    return [
        [row for row in rows if row not in (-1, source)][:DEPTH]
        for rows, source in zip(best.rows.tolist(), sources.tolist(), strict=True)
    ]
