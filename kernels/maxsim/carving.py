"""Ball carving: a query's like tokens become one.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings" (2024), section
3.2: tokens within a ball around one of them are replaced by their sum, and exact MaxSim is computed
with the fewer vectors that are left. It is an approximation: the sum finds one best document token
for all of its members.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...vectors import TokenVectors

SIMILARITIES = 1 << 20
"""Cosines that are held at a time."""
ROUNDING = 1e-12
"""Tokens of one direction have a cosine of 1 but for so much."""


def carve(queries: TokenVectors, tau: float) -> TokenVectors:
    """Queries with fewer tokens.

    The first token that is left takes with it all that are left whose cosine with it is ``tau`` or
    more; their sum stands for them. A token of zeros has a cosine of 0 with every other. Cosines
    and sums are in float64, sums in the order of the tokens, rounded once. A ``tau`` above 1 leaves
    queries as they are. Raises InputError where tau is not a number.
    """
    if not np.isfinite(tau):
        raise InputError(f"tau is a finite number such as 0.7, got {tau}", field="tau")
    carved = [np.zeros((0, queries.vectors.shape[1]), np.float32)]
    starts = np.zeros(len(queries) + 1, np.int64)
    for number in range(len(queries)):
        tokens = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
        sums = _sums(tokens.astype(np.float64), tau - ROUNDING)
        carved.append(np.array(sums, np.float32).reshape(len(sums), tokens.shape[1]))
        starts[number + 1] = starts[number] + len(sums)
    return TokenVectors(starts, np.concatenate(carved))


def _sums(tokens: NDArray[np.float64], tau: float) -> list[NDArray[np.float64]]:
    """The sums of a query's balls; cosines of a few tokens at a time, with those that are left."""
    lengths = np.sqrt((tokens**2).sum(axis=1))  # squares of float32 neither overflow nor vanish
    units = tokens / np.where(lengths > 0, lengths, 1)[:, None]
    sums = []
    left = np.arange(len(tokens))
    while len(left):
        some = left[: max(1, SIMILARITIES // len(left))]
        near = units[some] @ units[left].T >= tau
        free = np.ones(len(left), np.bool_)
        for place in range(len(some)):
            if free[place]:
                ball = free & near[place]
                ball[place] = True
                sums.append(tokens[left[ball]].sum(axis=0))
                free &= ~ball
        left = left[free]
    return sums
