"""What the kernel takes: wrong shapes would read past the end."""

from __future__ import annotations

from typing import Any

from . import MOST_NODES, Seen, Window


def check(queries: Any, keys: Any, values: Any, visible: Seen) -> None:
    """Raise ValueError for what :func:`cormorant.kernels.tree_attention.attend` does not take."""
    import torch

    types = (torch.float32, torch.bfloat16, torch.float16)
    if queries.ndim != 4 or keys.ndim != 4 or keys.shape != values.shape:
        raise ValueError(
            "queries are (rows, heads, n, width), keys and values (rows, key_heads, slots, width), "
            f"got {tuple(queries.shape)}, {tuple(keys.shape)}, {tuple(values.shape)}"
        )
    rows, heads, n, width = queries.shape
    key_rows, key_heads, slots, key_width = keys.shape
    if key_rows != rows or key_width != width or not key_heads or heads % key_heads:
        raise ValueError(
            "queries and keys have as many rows and the same width, and heads are a multiple of "
            f"key heads, got {tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    if queries.dtype not in types or {keys.dtype, values.dtype} != {queries.dtype}:
        raise ValueError(
            "queries, keys and values are all float32, bfloat16 or float16, got "
            f"{queries.dtype}, {keys.dtype}, {values.dtype}"
        )
    if visible.holds.shape != (rows, slots) or visible.ancestors.shape != (rows, n):
        raise ValueError(
            f"what is seen is of {tuple(visible.holds.shape)} slots and "
            f"{tuple(visible.ancestors.shape)} queries, got {(rows, slots)} and {(rows, n)}"
        )


def check_seen(holds: Any, ancestors: Any, window: Window | None) -> None:
    """Raise ValueError for what :func:`cormorant.kernels.tree_attention.seen` does not take."""
    import torch

    if holds.ndim != 2 or ancestors.ndim != 2 or len(holds) != len(ancestors):
        raise ValueError(
            "holds is (rows, slots) and ancestors (rows, n), got "
            f"{tuple(holds.shape)} and {tuple(ancestors.shape)}"
        )
    if ancestors.shape[1] > MOST_NODES:
        raise ValueError(f"at most {MOST_NODES} tokens at a time, got {ancestors.shape[1]}")
    _fits("holds", holds, tuple(holds.shape), torch.int8)
    _fits("ancestors", ancestors, tuple(ancestors.shape), torch.int64)
    if window is not None:
        if window.size < 1:
            raise ValueError(f"a window is 1 or more, got {window.size}")
        _fits("positions", window.positions, tuple(holds.shape), torch.int64)
        _fits("query_positions", window.query_positions, tuple(ancestors.shape), torch.int64)


def _fits(name: str, given: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if given is None or tuple(given.shape) != shape or given.dtype != dtype:
        got = "nothing" if given is None else f"{tuple(given.shape)} {given.dtype}"
        raise ValueError(f"{name} is {shape} {dtype}, got {got}")
