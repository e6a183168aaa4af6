"""What the kernel takes: wrong shapes would read past the end."""

from __future__ import annotations

from typing import Any, NamedTuple


class Window(NamedTuple):
    """How far back a query sees, and where everything stands."""

    size: int
    positions: Any
    query_positions: Any


def check(
    queries: Any, keys: Any, values: Any, holds: Any, ancestors: Any, window: Window | None
) -> None:
    """Raise ValueError for what :func:`cormorant.kernels.tree_attention.attend` does not take."""
    import torch

    from . import MOST_NODES

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
    if n > MOST_NODES:
        raise ValueError(f"at most {MOST_NODES} tokens at a time, got {n}")
    _fits("holds", holds, (rows, slots), torch.int8)
    _fits("ancestors", ancestors, (rows, n), torch.int64)
    if window is not None:
        if window.size < 1:
            raise ValueError(f"a window is 1 or more, got {window.size}")
        _fits("positions", window.positions, (rows, slots), torch.int64)
        _fits("query_positions", window.query_positions, (rows, n), torch.int64)


def _fits(name: str, given: Any, shape: tuple[int, int], dtype: Any) -> None:
    if given is None or tuple(given.shape) != shape or given.dtype != dtype:
        got = "nothing" if given is None else f"{tuple(given.shape)} {given.dtype}"
        raise ValueError(f"{name} is {shape} {dtype}, got {got}")
