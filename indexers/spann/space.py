"""The space in which lists are made: Euclidean whatever the similarity, rotated, padded.

    l2      as it is
    cosine  as it is, all of length 1:  |x - q|^2 = 2 - 2 <x, q>
    dot     one number more, sqrt(bound^2 - |x|^2), so that all are of length ``bound``, the longest
            vector's; a query gets a zero and that length:  |x - q|^2 = 2 bound^2 - 2 <x, q'>
            (Bachrach et al., RecSys 2014)

So the nearest here are the best by the similarity, and SPANN's rules are about true distances. The
padding (to a multiple of 64) and the rotation are those that the codes need; they change no
distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...kernels.rabitq import padded, rotate, signs_for
from .rows import Rows

SEED = 7
_BLOCK = 2048


class Space(NamedTuple):
    """Vectors of ``dim`` numbers, as they are compared."""

    similarity: str
    dim: int
    bound: float

    @property
    def width(self) -> int:
        """Numbers of a vector in the space."""
        return padded(self.dim + (self.similarity == "dot"))

    def signs(self) -> Float32Array:
        """What the rotation needs."""
        return signs_for(self.width, SEED)

    def placed(self, vectors: Rows, places: Int64Array | slice) -> Float32Array:
        """Some of the stored vectors as they are before the rotation, without the padding."""
        chosen = vectors[places]
        if self.similarity != "dot":
            return chosen.astype(np.float32, copy=False)
        squares = np.einsum("nd,nd->n", chosen, chosen, dtype=np.float64)
        last = np.sqrt(np.maximum(self.bound**2 - squares, 0.0))
        return np.column_stack([chosen, last]).astype(np.float32)

    def turned(self, points: Float32Array) -> Float32Array:
        """What was ``placed``, or means of it, padded and rotated: (n, width)."""
        result = np.zeros((len(points), self.width), np.float32)
        result[:, : points.shape[1]] = points
        rotate(result, self.signs())
        return result

    def of_vectors(self, vectors: Rows, places: Int64Array | slice) -> Float32Array:
        """Some of the stored vectors: (n, width)."""
        return self.turned(self.placed(vectors, places))

    def in_blocks(
        self, vectors: Rows, places: NDArray[np.integer[Any]]
    ) -> Iterator[tuple[slice, Float32Array]]:
        """Any number of the stored vectors, some at a time: which of the places, and (m, width)."""
        for first in range(0, len(places), _BLOCK):
            block = slice(first, first + _BLOCK)
            yield block, self.of_vectors(vectors, places[block].astype(np.int64, copy=False))

    def of_queries(self, queries: Float32Array, signs: Float32Array) -> Float32Array:
        """Queries: (n, width)."""
        result = np.zeros((len(queries), self.width), np.float32)
        result[:, : self.dim] = queries
        if self.similarity == "dot":
            norms = np.sqrt(np.einsum("nd,nd->n", queries, queries, dtype=np.float64))
            norms[norms == 0.0] = 1.0
            result *= (self.bound / norms)[:, None].astype(np.float32)
        rotate(result, signs)
        return result
