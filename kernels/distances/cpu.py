"""The numba version: one pass over each chosen vector."""

from __future__ import annotations

import numba
import numpy as np

from ...contracts import Float32Array, Int64Array


def distances(queries: Float32Array, vectors: Float32Array, places: Int64Array) -> Float32Array:
    """See :mod:`cormorant.kernels.distances`."""
    scores = np.full(places.shape, -np.inf, np.float32)
    _distances(np.ascontiguousarray(queries, np.float32), vectors, places, scores)
    return scores


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _distances(
    queries: Float32Array, vectors: Float32Array, places: Int64Array, scores: Float32Array
) -> None:
    for query in range(places.shape[0]):
        asked = queries[query]
        for column in range(places.shape[1]):
            place = places[query, column]
            if place >= 0:
                held = vectors[place]
                total = 0.0
                for i in range(asked.shape[0]):
                    apart = np.float64(asked[i]) - np.float64(held[i])
                    total += apart * apart
                scores[query, column] = -total
