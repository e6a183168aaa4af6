"""Ball carving: a query's like tokens become one.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings" (2024), section
3.2: tokens within a ball around one of them are replaced by their sum, and exact MaxSim is computed
with the fewer vectors that are left. It is an approximation: the sum finds one best document token
for all of its members.
"""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from ...vectors import TokenVectors


def carve(queries: TokenVectors, tau: float) -> TokenVectors:
    """Queries with fewer tokens.

    The first token that is left takes with it all that are left whose inner product with it is
    ``tau`` or more (tokens of unit length are meant, so a cosine); their sum stands for them. Sums
    are in float64, in the order of the tokens, rounded once. A ``tau`` above 1 leaves unit vectors
    as they are. Raises InputError where tau is not a number.
    """
    if not np.isfinite(tau):
        raise InputError(f"tau is a finite number such as 0.7, got {tau}", field="tau")
    carved = [np.zeros((0, queries.vectors.shape[1]), np.float32)]
    starts = np.zeros(len(queries) + 1, np.int64)
    for number in range(len(queries)):
        tokens = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
        exact = tokens.astype(np.float64)
        alike = exact @ exact.T >= tau
        left = np.ones(len(tokens), np.bool_)
        sums = []
        for place in range(len(tokens)):
            if left[place]:
                ball = left & alike[place]
                ball[place] = True
                sums.append(exact[ball].sum(axis=0))
                left &= ~ball
        carved.append(np.array(sums, np.float32).reshape(len(sums), tokens.shape[1]))
        starts[number + 1] = starts[number] + len(sums)
    return TokenVectors(starts, np.concatenate(carved))
