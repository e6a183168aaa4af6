"""The specification: numpy in float64, a query at a time."""

from __future__ import annotations

import numpy as np

from ...contracts import Array


def attend(
    queries: Array,
    keys: Array,
    values: Array,
    holds: Array,
    ancestors: Array,
    scale: float,
    window: tuple[int, Array, Array] | None = None,
) -> Array:
    """(rows, heads, n, width) float64; ``window``: its size, positions, query positions."""
    rows, heads, n, width = queries.shape
    group = heads // keys.shape[1]
    result = np.zeros((rows, heads, n, width))
    for row in range(rows):
        for node in range(n):
            own = int(ancestors[row, node])
            seen = [
                slot
                for slot, held in enumerate(holds[row].tolist())
                if held == -1 or (held >= 0 and own >> held & 1)
            ]
            if window is not None:
                size, positions, query_positions = window
                here = query_positions[row, node]
                seen = [slot for slot in seen if positions[row, slot] > here - size]
            if not seen:
                continue
            for head in range(heads):
                key = keys[row, head // group, seen].astype(np.float64)
                scores = scale * (key @ queries[row, head, node].astype(np.float64))
                weights = np.exp(scores - scores.max())
                value = values[row, head // group, seen].astype(np.float64)
                result[row, head, node] = weights @ value / weights.sum()
    return result
