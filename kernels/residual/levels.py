"""What a code stands for, and how many centroids and bytes there are."""

from __future__ import annotations

import numpy as np

from ...contracts import Int64Array

SHARE = 32
"""Tokens for each centroid."""
STRETCH = 256
"""Tokens that share their centroids; so the time a text takes grows as its length does."""
ROUNDS = 4

_TWO = (0.4528, 1.510)
_FOUR = (0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733)
LEVELS = {
    bits: np.array([*(-level for level in reversed(upper)), *upper], np.float32)
    for bits, upper in ((2, _TWO), (4, _FOUR))
}


def n_centroids(n_tokens: Int64Array) -> Int64Array:
    """How many centroids texts of so many tokens have: (n,) int64."""
    counted: Int64Array = -(-n_tokens // SHARE)
    return counted


def packed_size(dim: int, bits: int) -> int:
    """Bytes of a token's codes."""
    return -(-dim * bits // 8)
