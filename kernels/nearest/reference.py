"""The specification: slow, obvious, in float64."""

from __future__ import annotations

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array


def nearest(
    vectors: Float32Array, queries: Float32Array, k: int, allowed: BoolArray | None
) -> list[Int64Array]:
    """For each query the places that a fast version must return at least."""
    places = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    found: list[Int64Array] = []
    for query in queries.astype(np.float64):
        scores = vectors[places].astype(np.float64) @ query
        if k >= len(places):
            found.append(places)
        else:
            found.append(places[scores >= np.sort(scores)[-k]])
    return found
