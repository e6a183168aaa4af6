"""Attention of a draft's tokens: to all that was committed, and to their own ancestors.

A tree of n drafted tokens (with the last committed one, at most 64) stands beside what a row has
already, in slots that need not follow one another. What each sees is said once for all layers, by
:func:`seen`; then each layer attends. All are torch tensors on one device:

* ``holds`` (rows, slots) int8: -2, nothing; -1, a committed token, which every query sees; else
  the number of one of the n, which a query sees by its bit.
* ``ancestors`` (rows, n) int64: bit j of query i says whether it sees the token of number j. A
  token is an ancestor of its own.
* ``window``: None, or a query also sees only what lies less than ``window`` positions back:
  ``positions`` (rows, slots) and ``query_positions`` (rows, n), int64.
* ``queries`` (rows, heads, n, width); ``keys``, ``values`` (rows, key_heads, slots, width), of the
  same type (float32, bfloat16 or float16), any strides but the last. Query head h reads key head
  ``g = h // (heads // key_heads)``: keys are never copied once a query head.

::

    out[r, h, i] = sum over s seen by i of  softmax_s(scale <q[r, h, i], k[r, g, s]>) v[r, g, s]

-> (rows, heads, n, width), of the queries' type; 0 for a query that sees nothing. Sums are in
float32 or wider.

``reference`` is numpy in float64; ``cpu`` is torch's own attention over grouped heads; ``gpu`` is
Triton, the slots shared out among programs and their parts merged by their log-sums (as in
Flash-Decoding, and DeFT, 2404.00242).
"""

from __future__ import annotations

from typing import Any, NamedTuple

MOST_NODES = 64
"""As many as an int64 has bits."""


class Window(NamedTuple):
    """How far back a query sees, and where everything stands."""

    size: int
    positions: Any
    query_positions: Any


class Seen(NamedTuple):
    """What every query sees; on a CPU also as ``mask`` (rows, n, slots) of booleans."""

    holds: Any
    ancestors: Any
    window: Window | None
    mask: Any | None


def seen(
    holds: Any,
    ancestors: Any,
    *,
    window: int | None = None,
    positions: Any | None = None,
    query_positions: Any | None = None,
) -> Seen:
    """See the module. Raises ValueError for shapes or types that do not fit."""
    from .checking import check_seen

    within = None if window is None else Window(window, positions, query_positions)
    check_seen(holds, ancestors, within)
    if within is not None:
        within = Window(within.size, *(places.contiguous() for places in within[1:]))
    mask = None
    if holds.device.type != "cuda":
        from .cpu import mask_of

        mask = mask_of(holds, ancestors, within)
    return Seen(holds.contiguous(), ancestors.contiguous(), within, mask)


def attend(queries: Any, keys: Any, values: Any, visible: Seen, *, scale: float) -> Any:
    """See the module. Raises ValueError for shapes or types that do not fit."""
    from .checking import check

    check(queries, keys, values, visible)
    if queries.device.type == "cuda":
        from .gpu import attend as on_gpu

        return on_gpu(queries, keys, values, visible, scale)
    from .cpu import attend as on_cpu

    return on_cpu(queries, keys, values, visible, scale)


def bits(seen: Any) -> Any:
    """``ancestors`` of booleans: (rows, n, n) [query, token] numpy bool -> (rows, n) int64."""
    import numpy as np

    weights = np.left_shift(np.uint64(1), np.arange(seen.shape[-1], dtype=np.uint64))
    return (seen * weights).sum(axis=-1, dtype=np.uint64).view(np.int64)
