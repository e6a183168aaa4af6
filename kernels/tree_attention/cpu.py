"""On a CPU: torch's attention, the query heads that share a key head as queries of one head."""

from __future__ import annotations

from typing import Any

from .checking import Window


def attend(
    queries: Any,
    keys: Any,
    values: Any,
    holds: Any,
    ancestors: Any,
    scale: float,
    window: Window | None,
) -> Any:
    """See :mod:`cormorant.kernels.tree_attention`."""
    import torch

    rows, heads, n, width = queries.shape
    key_heads = keys.shape[1]
    held = holds[:, None, :].long()
    seen = (ancestors[:, :, None] >> held.clamp(min=0)) & 1 != 0
    seen = (held == -1) | ((held >= 0) & seen)
    if window is not None:
        near = window.positions[:, None, :] > window.query_positions[:, :, None] - window.size
        seen = seen & near
    folded = queries.reshape(rows, key_heads, heads // key_heads * n, width)
    mask = seen.repeat(1, heads // key_heads, 1)[:, None]
    found = torch.nn.functional.scaled_dot_product_attention(
        folded, keys, values, attn_mask=mask, scale=scale
    )
    found = found.reshape(rows, heads, n, width)
    return torch.where(seen.any(dim=2)[:, None, :, None], found, torch.zeros_like(found))
