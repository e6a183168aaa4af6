"""Inner products of queries with chosen vectors: what makes a score a score.

The contract of every version here::

    dots(queries (n, dim) float32, vectors (m, dim) float32, places (n, k) int64)
        -> scores (n, k) float32

``scores[q, j]`` is the inner product of ``queries[q]`` and ``vectors[places[q, j]]``, summed in
float64 and rounded once; -inf where the place is negative. It depends on these two vectors and on
nothing else: not on the batch, nor on how vectors are split into segments. Whatever finds the
candidates (a matrix product, a graph, quantised lists), this gives them their scores.
"""

from __future__ import annotations

from .cpu import dots

__all__ = ["dots"]
