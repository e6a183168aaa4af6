"""On a CPU: torch's attention, the query heads that share a key head as queries of one head."""

from __future__ import annotations

from typing import Any

from . import Seen, Window


def mask_of(holds: Any, ancestors: Any, window: Window | None) -> Any:
    """(rows, n, slots) of booleans: what each query sees."""
    held = holds[:, None, :].long()
    of_tree = (ancestors[:, :, None] >> held.clamp(min=0)) & 1 != 0
    mask = (held == -1) | ((held >= 0) & of_tree)
    if window is None:
        return mask
    return mask & (window.positions[:, None, :] > window.query_positions[:, :, None] - window.size)


def attend(queries: Any, keys: Any, values: Any, visible: Seen, scale: float) -> Any:
    """See :mod:`cormorant.kernels.tree_attention`."""
    import torch

    rows, heads, n, width = queries.shape
    key_heads = keys.shape[1]
    folded = queries.reshape(rows, key_heads, heads // key_heads * n, width)
    mask: Any = visible.mask
    found = torch.nn.functional.scaled_dot_product_attention(
        folded,
        keys,
        values,
        attn_mask=mask.repeat(1, heads // key_heads if n > 1 else 1, 1)[:, None],
        scale=scale,
    )
    found = found.reshape(rows, heads, n, width)
    return found.masked_fill(~mask.any(dim=2)[:, None, :, None], 0.0)
