"""On a GPU: a program holds a tile of products, text by tile of the vocabulary, in registers.

Products are summed in float32; only the tile's maxima and their tokens reach memory. Of equal
products the first token wins within a tile (``tie_break_left``) and between tiles (``>``).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

BLOCK_TOKENS = 64
BLOCK_TERMS = 128
BLOCK_DIM = 32


def maxima(hidden: Any, starts: Any, weight: Any, bias: Any | None) -> tuple[Any, Any]:
    """See :mod:`cormorant.kernels.splade_head`."""
    import torch

    n, vocabulary, dim = len(starts) - 1, len(weight), hidden.shape[1]
    largest = torch.empty((n, vocabulary), dtype=torch.float32, device=hidden.device)
    places = torch.empty((n, vocabulary), dtype=torch.int32, device=hidden.device)
    if n == 0 or vocabulary == 0:
        return largest, places
    grid = (triton.cdiv(vocabulary, BLOCK_TERMS), n)
    maxima_kernel[grid](
        hidden.detach().contiguous(),
        starts.contiguous(),
        weight.detach().contiguous(),
        hidden if bias is None else bias.detach().contiguous(),
        largest,
        places,
        vocabulary,
        dim,
        WITH_BIAS=bias is not None,
        BLOCK_TOKENS=BLOCK_TOKENS,
        BLOCK_TERMS=BLOCK_TERMS,
        BLOCK_DIM=BLOCK_DIM,
    )
    return largest, places


@triton.jit
def maxima_kernel(
    hidden: tl.tensor,
    starts: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    largest: tl.tensor,
    places: tl.tensor,
    vocabulary: tl.tensor,
    dim: tl.tensor,
    WITH_BIAS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_TERMS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
) -> None:
    """One text (axis 1) and one tile of terms (axis 0)."""
    text = tl.program_id(1).to(tl.int64)
    terms = tl.program_id(0).to(tl.int64) * BLOCK_TERMS + tl.arange(0, BLOCK_TERMS)
    real = terms < vocabulary
    first = tl.load(starts + text)
    last = tl.load(starts + text + 1)
    best = tl.full((BLOCK_TERMS,), float("-inf"), tl.float32)
    best_place = tl.full((BLOCK_TERMS,), -1, tl.int32)
    for start in range(first, last, BLOCK_TOKENS):
        tokens = start + tl.arange(0, BLOCK_TOKENS).to(tl.int64)
        there = tokens < last
        products = tl.zeros((BLOCK_TOKENS, BLOCK_TERMS), tl.float32)
        for before in range(0, dim, BLOCK_DIM):
            places_of_dim = before + tl.arange(0, BLOCK_DIM)
            within = places_of_dim < dim
            rows = tl.load(
                hidden + tokens[:, None] * dim + places_of_dim[None, :],
                mask=there[:, None] & within[None, :],
                other=0.0,
            )
            columns = tl.load(
                weight + terms[None, :] * dim + places_of_dim[:, None],
                mask=real[None, :] & within[:, None],
                other=0.0,
            )
            products = tl.dot(rows, columns, products, input_precision="ieee")
        products = tl.where(there[:, None], products, float("-inf"))
        value, place = tl.max(products, axis=0, return_indices=True)
        better = value > best
        best = tl.where(better, value, best)
        best_place = tl.where(better, (start + place).to(tl.int32), best_place)
    if WITH_BIAS:
        best += tl.load(bias + terms, mask=real, other=0.0)
    tl.store(largest + text * vocabulary + terms, best, mask=real)
    tl.store(places + text * vocabulary + terms, best_place, mask=real)
