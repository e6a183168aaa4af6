"""Attention of a draft's tokens: to all that was committed, and to their own ancestors.

A tree of n drafted tokens (with the last committed one, at most 64) stands beside what a row has
already, in slots that need not follow one another. All are torch tensors on one device:

* ``queries`` (rows, heads, n, width); ``keys``, ``values`` (rows, key_heads, slots, width), of the
  same type (float32, bfloat16 or float16), any strides but the last. Query head h reads key head
  ``g = h // (heads // key_heads)``: keys are never copied once a query head.
* ``holds`` (rows, slots) int8: -2, nothing; -1, a committed token, which every query sees; else
  the number of one of the n, which a query sees by its bit.
* ``ancestors`` (rows, n) int64: bit j of query i says whether it sees the token of number j. A
  token is an ancestor of its own.
* ``window``: None, or a query also sees only what lies less than ``window`` positions back:
  ``positions`` (rows, slots) and ``query_positions`` (rows, n), int64.

::

    out[r, h, i] = sum over s seen by i of  softmax_s(scale <q[r, h, i], k[r, g, s]>) v[r, g, s]

-> (rows, heads, n, width), of the queries' type; 0 for a query that sees nothing. Sums are in
float32 or wider.

``reference`` is numpy in float64; ``cpu`` is torch's own attention over grouped heads; ``gpu`` is
Triton, the slots shared out among programs and their parts merged by their log-sums (as in
Flash-Decoding, and DeFT, 2404.00242).
"""

from __future__ import annotations

from typing import Any

MOST_NODES = 64
"""As many as an int64 has bits."""


def attend(
    queries: Any,
    keys: Any,
    values: Any,
    holds: Any,
    ancestors: Any,
    *,
    scale: float,
    window: int | None = None,
    positions: Any | None = None,
    query_positions: Any | None = None,
) -> Any:
    """See the module. Raises ValueError for shapes or types that do not fit."""
    from .checking import Window, check

    within = None
    if window is not None:
        within = Window(window, positions, query_positions)
    check(queries, keys, values, holds, ancestors, within)
    if queries.device.type == "cuda":
        from .gpu import attend as on_gpu

        return on_gpu(queries, keys, values, holds, ancestors, scale, within)
    from .cpu import attend as on_cpu

    return on_cpu(queries, keys, values, holds, ancestors, scale, within)


def bits(seen: Any) -> Any:
    """``ancestors`` of booleans: (rows, n, n) [query, token] numpy bool -> (rows, n) int64."""
    import numpy as np

    weights = np.left_shift(np.uint64(1), np.arange(seen.shape[-1], dtype=np.uint64))
    return (seen * weights).sum(axis=-1, dtype=np.uint64).view(np.int64)
