"""The head's gradient: only the token at a maximum moves, so backward costs one row per weight.

Of dL/dm (n, vocabulary) only the entries that are not 0 are visited: through the relu those are
the terms that fired, some hundreds a text, where autograd would hold (tokens, vocabulary).
"""

from __future__ import annotations

import functools
from typing import Any

ENTRIES_AT_ONCE = 1 << 16
"""Bounds the memory of the gathered rows: (entries, dim) float32."""


@functools.cache
def head_function() -> Any:
    """The torch.autograd.Function ``(hidden, starts, weight, bias) -> largest logits``.

    Made when first used: torch is not imported with this module.
    """
    import torch

    from . import maxima

    class Largest(torch.autograd.Function):
        """m of :mod:`cormorant.kernels.splade_head`."""

        @staticmethod
        def forward(ctx: Any, hidden: Any, starts: Any, weight: Any, bias: Any) -> Any:
            largest, places = maxima(hidden, starts, weight, bias)
            ctx.save_for_backward(hidden, weight, places)
            ctx.with_bias = bias is not None
            return largest

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            hidden, weight, places = ctx.saved_tensors
            grad = torch.where(places >= 0, grad, torch.zeros((), dtype=grad.dtype))
            of_bias = grad.sum(0) if ctx.with_bias and ctx.needs_input_grad[3] else None
            of_hidden = of_weight = None
            texts, terms = grad.nonzero(as_tuple=True)
            values = grad[texts, terms]
            tokens = places[texts, terms].long()
            if ctx.needs_input_grad[0]:
                of_hidden = _gathered(values, terms, weight, tokens, len(hidden), hidden.dtype)
            if ctx.needs_input_grad[2]:
                of_weight = _gathered(values, tokens, hidden, terms, len(weight), weight.dtype)
            return of_hidden, None, of_weight, of_bias

    return Largest


def _gathered(values: Any, sources: Any, rows: Any, targets: Any, n: int, dtype: Any) -> Any:
    """(n, dim): the sum over entries of value x rows[source], each added to its target's row."""
    import torch

    out = torch.zeros((n, rows.shape[1]), dtype=torch.float32, device=rows.device)
    for start in range(0, len(values), ENTRIES_AT_ONCE):
        some = slice(start, start + ENTRIES_AT_ONCE)
        out.index_add_(0, targets[some], rows[sources[some]].float() * values[some, None])
    return out.to(dtype)
