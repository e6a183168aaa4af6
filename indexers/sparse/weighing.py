"""What the words of queries weigh where the collection weighs them: how rare its rows make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array
from ...statistics import Statistics
from . import tuning
from .segment import SparseSegment
from .weighted import Weighted


def weights_of(
    segments: Sequence[SparseSegment], asked: Weighted, visible: BoolArray | None
) -> Float32Array:
    """The weights of the queries' terms: their own, or how rare visible rows make them."""
    if not asked.by_collection:
        return np.ascontiguousarray(asked.weights, np.float32)
    return tuning.rarity(*_counted(segments, asked.terms, visible)).astype(np.float32)


def statistics_of(
    segments: Sequence[SparseSegment], words: Sequence[int], visible: BoolArray | None
) -> Statistics:
    """How many texts are visible, and how many of them have each of some words."""
    n_texts, counts = _counted(segments, np.array(words, np.int64), visible)
    return Statistics(n_texts, 0, dict(zip(words, counts.tolist(), strict=True)))


def shared(asked: Weighted, statistics: Statistics) -> Weighted:
    """Queries with their weights, as these statistics make them."""
    counts = [statistics.frequencies[term] for term in asked.terms.tolist()]
    weights = tuning.rarity(statistics.n_rows, np.array(counts, np.int64)).astype(np.float32)
    return replace(asked, weights=weights, by_collection=False)


def _counted(
    segments: Sequence[SparseSegment], words: Int64Array, visible: BoolArray | None
) -> tuple[int, Int64Array]:
    n_texts, frequencies = 0, np.zeros(len(words), np.int64)
    for segment in segments:
        n, counts = segment.counted(visible)
        n_texts += n
        places = segment.vocabulary.find(words, None)
        known = places >= 0
        frequencies[known] += counts[places[known]]
    return n_texts, frequencies
