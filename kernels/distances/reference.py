"""The specification: slow, obvious, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array


def distances(queries: Float32Array, vectors: Float32Array, places: Int64Array) -> Float32Array:
    """See :mod:`cormorant.kernels.distances`."""
    scores: NDArray[np.float64] = np.full(places.shape, -np.inf)
    for query, row in enumerate(places):
        for column, place in enumerate(row):
            if place >= 0:
                apart = queries[query].astype(np.float64) - vectors[place].astype(np.float64)
                scores[query, column] = -(apart**2).sum()
    return scores.astype(np.float32)
