"""The Triton version of estimates: a program takes some codes and unpacks their planes by shifts.

The query is taken as it is, not rounded: products are float32, which costs a GPU no more than
counting bits. Imported where records lie on a device only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .layout import HEAD_BYTES, WORD

TILE = 64
"""Codes of one program."""
_HALF = 32
"""Bits loaded at a time: a word is two halves, the lower first."""


@triton.jit
def estimate_kernel(
    steps: tl.tensor,
    squares: tl.tensor,
    spreads: tl.tensor,
    codes: tl.tensor,
    query: tl.tensor,
    sums: tl.tensor,
    squares_out: tl.tensor,
    spreads_out: tl.tensor,
    n: tl.tensor,
    halves: tl.tensor,
    BITS: tl.constexpr,
    HALF: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """``codes`` (n, BITS, halves) int32; ``sums``: of the query's numbers, and of their squares."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = rows < n
    lanes = tl.arange(0, HALF)
    inner = tl.zeros((TILE,), tl.float32)
    for half in range(halves):
        levels = tl.zeros((TILE, HALF), tl.int32)
        for plane in tl.static_range(BITS):
            place = (rows.to(tl.int64) * BITS + plane) * halves + half
            words = tl.load(codes + place, mask=inside, other=0)
            levels += ((words[:, None] >> lanes[None, :]) & 1) << plane
        numbers = tl.load(query + half * HALF + lanes)
        inner += tl.sum(levels.to(tl.float32) * numbers[None, :], axis=1)
    inner -= ((1 << BITS) - 1) * 0.5 * tl.load(sums)
    square = tl.load(sums + 1)
    own = tl.load(squares + rows, mask=inside, other=0.0)
    step = tl.load(steps + rows, mask=inside, other=0.0)
    spread = tl.load(spreads + rows, mask=inside, other=0.0)
    tl.store(squares_out + rows, own + square - 2.0 * step * inner, mask=inside)
    tl.store(spreads_out + rows, spread * tl.sqrt(square), mask=inside)


def estimate(
    record: torch.Tensor, n: int, bits: int, query: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and spreads, (n,) float32, of a record (uint8) and a query (dim,) float32.

    See :mod:`cormorant.kernels.rabitq`; the query is not rounded.
    """
    found = torch.empty((2, n), dtype=torch.float32, device=record.device)
    if not n:
        return found[0], found[1]
    steps, squares, spreads = (
        record[4 * i * n : 4 * (i + 1) * n].view(torch.float32) for i in (1, 2, 3)
    )
    codes = record[HEAD_BYTES * n :].view(torch.int32)
    sums = torch.stack([query.sum(), (query * query).sum()])
    halves = len(query) // WORD * (WORD // _HALF)
    estimate_kernel[(triton.cdiv(n, TILE),)](
        *(steps, squares, spreads, codes, query, sums, found[0], found[1], n, halves),
        BITS=bits,
        HALF=_HALF,
        TILE=TILE,
    )
    return found[0], found[1]
