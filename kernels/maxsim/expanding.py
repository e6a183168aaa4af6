"""Residual codes made float32, in numba: a centroid's number and a level of the token's scale.

Two operations that round, as :mod:`cormorant.kernels.residual` says: the compiler may not fuse
them, and does not, for numba asks for no fast mathematics.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..residual import LEVELS
from .widening import byte_at, code_at, put_float

_TWO, _FOUR = LEVELS[2], LEVELS[4]


@njit(nogil=True, cache=True)
def expand_two(
    source: int,
    dim: int,
    scale: np.float32,
    centroid: int,
    centroid_scale: np.float32,
    target: int,
) -> None:
    """One vector of 2 bits a number at an address, as float32 at another."""
    for i in range(dim):
        code = (code_at(source, i >> 2) >> (2 * (i & 3))) & 3
        put_float(target, i, byte_at(centroid, i) * centroid_scale + _TWO[code] * scale)


@njit(nogil=True, cache=True)
def expand_four(
    source: int,
    dim: int,
    scale: np.float32,
    centroid: int,
    centroid_scale: np.float32,
    target: int,
) -> None:
    """One vector of 4 bits a number at an address, as float32 at another."""
    for i in range(dim):
        code = (code_at(source, i >> 1) >> (4 * (i & 1))) & 15
        put_float(target, i, byte_at(centroid, i) * centroid_scale + _FOUR[code] * scale)
