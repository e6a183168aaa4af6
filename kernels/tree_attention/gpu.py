"""On a GPU: a program holds the queries of one key head, and reads a stretch of its slots once.

All query heads of a key head are rows of one tile, so each key and value is read once, whatever the
number of query heads. Where rows and key heads are too few to fill the device, the slots are shared
out, and the parts are merged by their log-sums. Numbers of slots and of tokens are arguments, not
constants: a text that grows compiles nothing anew.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from . import Seen

PROGRAMS = 256
"""About as many as keep a device of 100 to 150 processors busy."""
LEAST_SLOTS = 256
"""Fewer are not worth a program of their own."""
MOST_ROWS = 64
SLOT_TILE, WIDE_SLOT_TILE = 32, 16
"""The second for float32 heads of more than 128: the first would be too much for sm_80's memory."""
LOG2_E = 1.4426950408889634


def attend(queries: Any, keys: Any, values: Any, visible: Seen, scale: float) -> Any:
    """See :mod:`cormorant.kernels.tree_attention`."""
    import torch

    rows, heads, n, width = queries.shape
    key_heads, slots = keys.shape[1:3]
    if 0 in (rows, n, slots):
        return torch.zeros_like(queries)
    group = heads // key_heads
    tile = min(MOST_ROWS, max(16, triton.next_power_of_2(group * n)))
    tiles = triton.cdiv(group * n, tile)
    wanted = triton.cdiv(PROGRAMS, rows * key_heads * tiles)
    parts = max(1, min(wanted, slots // LEAST_SLOTS))
    at_once = SLOT_TILE if width * queries.element_size() <= 512 else WIDE_SLOT_TILE
    stretch = triton.cdiv(triton.cdiv(slots, parts), at_once) * at_once
    size = (parts, rows, heads, n)
    sums = torch.empty((*size, width), dtype=torch.float32, device=queries.device)
    logs = torch.empty(size, dtype=torch.float32, device=queries.device)
    window = visible.window
    keys, values = (part if part.stride(3) == 1 else part.contiguous() for part in (keys, values))
    attend_kernel[(rows * key_heads, tiles, parts)](
        queries.contiguous(),
        keys,
        values,
        visible.holds,
        visible.ancestors,
        visible.holds if window is None else window.positions,
        visible.holds if window is None else window.query_positions,
        sums,
        logs,
        scale * LOG2_E,
        rows,
        key_heads,
        group,
        n,
        slots,
        stretch,
        0 if window is None else window.size,
        *keys.stride()[:3],
        *values.stride()[:3],
        WIDTH=width,
        WINDOWED=window is not None,
        ROW_TILE=tile,
        SLOT_TILE=at_once,
        WIDTH_TILE=max(16, triton.next_power_of_2(width)),
    )
    if parts == 1:
        return sums[0].to(queries.dtype)
    most = logs.amax(dim=0)
    weights = torch.exp2(logs - torch.where(most.isinf(), torch.zeros_like(most), most))
    total = weights.sum(dim=0).clamp(min=1e-30)  # no part saw anything: 0 of all
    merged = (weights[..., None] * sums).sum(dim=0) / total[..., None]
    return merged.to(queries.dtype)


@triton.jit(do_not_specialize=["n_rows", "n", "slots", "stretch", "window"])
def attend_kernel(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    holds: tl.tensor,
    ancestors: tl.tensor,
    positions: tl.tensor,
    query_positions: tl.tensor,
    sums: tl.tensor,
    logs: tl.tensor,
    scale: tl.tensor,
    n_rows: tl.tensor,
    key_heads: tl.tensor,
    group: tl.tensor,
    n: tl.tensor,
    slots: tl.tensor,
    stretch: tl.tensor,
    window: tl.tensor,
    key_row: tl.tensor,
    key_head: tl.tensor,
    key_slot: tl.tensor,
    value_row: tl.tensor,
    value_head: tl.tensor,
    value_slot: tl.tensor,
    WIDTH: tl.constexpr,
    WINDOWED: tl.constexpr,
    ROW_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    WIDTH_TILE: tl.constexpr,
) -> None:
    """One key head of one row (axis 0), some of its queries (1), one stretch of slots (2).

    A query of the tile is number ``head in the group * n + node``, so that queries and sums are
    read and written straight through.
    """
    row = (tl.program_id(0) // key_heads).to(tl.int64)
    head = (tl.program_id(0) % key_heads).to(tl.int64)
    part = tl.program_id(2)
    places = tl.program_id(1) * ROW_TILE + tl.arange(0, ROW_TILE)
    real = places < group * n
    nodes = places % n
    dimensions = tl.arange(0, WIDTH_TILE)
    there = dimensions < WIDTH
    first_query = (row * key_heads + head) * group * n
    query = tl.load(
        queries + (first_query + places)[:, None] * WIDTH + dimensions[None, :],
        mask=real[:, None] & there[None, :],
        other=0.0,
    )
    own = tl.load(ancestors + row * n + nodes, mask=real, other=0)
    if WINDOWED:
        oldest = tl.load(query_positions + row * n + nodes, mask=real, other=0) - window
    most = tl.full((ROW_TILE,), float("-inf"), tl.float32)
    total = tl.zeros((ROW_TILE,), tl.float32)
    gathered = tl.zeros((ROW_TILE, WIDTH_TILE), tl.float32)
    end = tl.minimum(slots, (part + 1) * stretch)
    for start in range(part * stretch, end, SLOT_TILE):
        here = start + tl.arange(0, SLOT_TILE)
        inside = here < end
        held = tl.load(holds + row * slots + here, mask=inside, other=-2).to(tl.int64)
        of_tree = (own[:, None] >> tl.maximum(held, 0)[None, :]) & 1
        seen = (held == -1)[None, :] | ((held >= 0)[None, :] & (of_tree != 0))
        if WINDOWED:
            at = tl.load(positions + row * slots + here, mask=inside, other=0)
            seen = seen & (at[None, :] > oldest[:, None])
        far = here.to(tl.int64)
        key = tl.load(
            keys + row * key_row + head * key_head + far[None, :] * key_slot + dimensions[:, None],
            mask=inside[None, :] & there[:, None],
            other=0.0,
        )
        scores = tl.dot(query, key, input_precision="ieee") * scale
        scores = tl.where(seen, scores, float("-inf"))
        larger = tl.maximum(most, tl.max(scores, axis=1))
        level = tl.where(larger == float("-inf"), 0.0, larger)
        weights = tl.exp2(scores - level[:, None])
        shrunk = tl.exp2(most - level)
        value = tl.load(
            values
            + row * value_row
            + head * value_head
            + far[:, None] * value_slot
            + dimensions[None, :],
            mask=inside[:, None] & there[None, :],
            other=0.0,
        )
        gathered = gathered * shrunk[:, None]
        gathered = tl.dot(weights.to(value.dtype), value, gathered, input_precision="ieee")
        total = total * shrunk + tl.sum(weights, axis=1)
        most = larger
    safe = tl.where(total > 0, total, 1.0)
    to = part.to(tl.int64) * n_rows * key_heads * group * n + first_query + places
    tl.store(
        sums + to[:, None] * WIDTH + dimensions[None, :],
        gathered / safe[:, None],
        mask=real[:, None] & there[None, :],
    )
    tl.store(logs + to, tl.where(total > 0, most + tl.log2(safe), float("-inf")), mask=real)
