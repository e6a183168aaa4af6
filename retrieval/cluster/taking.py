"""Some of many ready vectors, whatever form they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...contracts import Int64Array
from ...vectors import Given, SparseVectors, TokenVectors


def take(vectors: Given, places: Sequence[int]) -> Given:
    """The vectors at some places, in that order."""
    if isinstance(vectors, np.ndarray):
        taken: Given = vectors[list(places)]
        return taken
    if isinstance(vectors, SparseVectors):
        starts, used = _rows(vectors.starts, places)
        return replace(
            vectors, starts=starts, terms=vectors.terms[used], weights=vectors.weights[used]
        )
    if isinstance(vectors, TokenVectors):
        starts, used = _rows(vectors.starts, places)
        return replace(vectors, starts=starts, vectors=vectors.vectors[used])
    chosen: Sequence[Any] = [vectors[place] for place in places]
    return chosen


def _rows(starts: Int64Array, places: Sequence[int]) -> tuple[Int64Array, Int64Array]:
    """The starts of some rows laid end to end, and the places that they take now."""
    begins, ends = starts[list(places)], starts[np.array(places, np.int64) + 1]
    cut = np.zeros(len(places) + 1, np.int64)
    np.cumsum(ends - begins, out=cut[1:])
    return cut, np.repeat(begins - cut[:-1], ends - begins) + np.arange(cut[-1])
