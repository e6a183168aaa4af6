"""Squared Euclidean distances of queries to chosen vectors, as scores.

The contract of every version here::

    distances(queries (n, dim) float32, vectors (m, dim) float32, places (n, k) int64)
        -> scores (n, k) float32

``scores[q, j]`` is minus the squared distance of ``queries[q]`` and ``vectors[places[q, j]]``,
summed in float64 and rounded once; -inf where the place is negative. Like
:mod:`cormorant.kernels.dots` it depends on these two vectors and on nothing else.
"""

from __future__ import annotations

from .cpu import distances

__all__ = ["distances"]
