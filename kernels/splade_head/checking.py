"""What the kernel takes: wrong shapes would read past the end, and NaN would win some maxima."""

from __future__ import annotations

from typing import Any

LONGEST = 1 << 15
"""Tokens in one text: a place within a text has 16 bits beside a 16-bit product."""


def check(hidden: Any, starts: Any, weight: Any, bias: Any | None) -> None:
    """Raise ValueError for what :func:`cormorant.kernels.splade_head.maxima` does not take."""
    import torch

    types = (torch.float32, torch.bfloat16, torch.float16)
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            "hidden is (n_tokens, dim) and weight (vocabulary, dim), got "
            f"{tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if hidden.dtype not in types or weight.dtype != hidden.dtype:
        raise ValueError(
            "hidden and weight are both float32, bfloat16 or float16, got "
            f"{hidden.dtype} and {weight.dtype}"
        )
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != torch.float32):
        raise ValueError(f"bias is (vocabulary,) float32, got {tuple(bias.shape)} {bias.dtype}")
    if starts.dtype != torch.int64 or starts.ndim != 1 or len(starts) < 1:
        raise ValueError(f"starts is (n + 1,) int64, got {tuple(starts.shape)} {starts.dtype}")
    lengths = starts.diff()
    ends_fit = int(starts[0]) == 0 and int(starts[-1]) == len(hidden)
    if not ends_fit or (len(lengths) and int(lengths.min()) < 0):
        raise ValueError("starts ascend from 0 to the number of tokens")
    if len(lengths) and int(lengths.max()) > LONGEST:
        raise ValueError(f"a text has at most {LONGEST} tokens, got {int(lengths.max())}")
    if not bool(torch.isfinite(hidden).all()):
        raise ValueError("hidden holds a number that is not finite")
