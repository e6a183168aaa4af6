"""A random rotation in O(dim log dim): flips of signs between Walsh-Hadamard transforms.

``rotate`` runs ``ROUNDS`` rounds: numbers change sign at random, then the first 2^p numbers (2^p
the largest power of two in dim) go through the orthonormal Walsh-Hadamard transform, in every
second round the last 2^p: as 2^(p + 1) > dim, every number meets every other. No matrix is kept.
Lengths and inner products stay what they were, up to rounding.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array

ROUNDS = 4


def signs_for(dim: int, seed: int) -> NDArray[np.float32]:
    """(ROUNDS, dim) of 1 and -1."""
    random = np.random.Generator(np.random.Philox(seed))
    return (random.integers(0, 2, (ROUNDS, dim)) * 2 - 1).astype(np.float32)


def rotate(vectors: Float32Array, signs: NDArray[np.float32]) -> None:
    """Rotate (n, dim) float32, contiguous, in place."""
    _rotate(vectors, signs)


@numba.njit(cache=True, nogil=True)
def _rotate(vectors: Float32Array, signs: NDArray[np.float32]) -> None:
    dim = vectors.shape[1]
    size = 1
    while 2 * size <= dim:
        size *= 2
    scale = np.float32(1.0 / np.sqrt(size))
    for row in range(vectors.shape[0]):
        for number in range(signs.shape[0]):
            for i in range(dim):
                vectors[row, i] *= signs[number, i]
            first = 0 if number % 2 == 0 else dim - size
            part = vectors[row, first : first + size]
            half = 1
            while half < size:
                for start in range(0, size, 2 * half):
                    for i in range(start, start + half):
                        a, b = part[i], part[i + half]
                        part[i] = a + b
                        part[i + half] = a - b
                half *= 2
            for i in range(size):
                part[i] *= scale
