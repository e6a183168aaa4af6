"""The Triton version: products by torch, cells summed and filled by one kernel.

Hashes and projections of a batch of tokens are two products in float64 (a token's cell is defined
by the sign of a float64 sum, and no setting of a user's makes these less exact). A program then
takes some cells of one document in one repetition: it sums the tokens that fall into them, as a
product with a matrix of zeros and ones and so with no atomics, finds each empty cell's nearest
token, and fetches it.

Documents only: queries are few and short, and are encoded where they are, in memory.

Imported when tokens are on a device only; see :mod:`cormorant.kernels.maxsim.gpu`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from ...contracts import Float32Array
from ...errors import InputError
from ..maxsim.gpu import DeviceTokens
from . import plans
from .settings import TIE_BITS, Fde, dense_final, tie_factors
from .signed import unpacked_signs

TOKENS = 1 << 16
"""About how many tokens are hashed and projected at a time."""
TOKEN_TILE = 32
NUMBERS = 1 << 27
"""Numbers of encodings at a time: texts may have few tokens, or none."""
_AT_ONCE = 1 << 14
"""Numbers before the final projection that are held for a text."""


@triton.jit(do_not_specialize=["n_repetitions"])
def cells_kernel(
    numbers: tl.tensor,
    ties: tl.tensor,
    projected: tl.tensor,
    starts: tl.tensor,
    encodings: tl.tensor,
    n_repetitions: tl.tensor,
    projected_stride: tl.tensor,
    repetition_step: tl.tensor,
    width: tl.tensor,
    cells: tl.tensor,
    FILLED: tl.constexpr,
    BITS: tl.constexpr,
    TIE_BITS: tl.constexpr,
    CELL_TILE: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    WIDTH_TILE: tl.constexpr,
) -> None:
    """Some cells of text ``program_id(0)``, in one repetition, and some of their numbers.

    ``numbers``: (n_tokens, n_repetitions) int32, each token's cell; ``ties``: (n_tokens,) int64;
    ``projected``: its values, a repetition's ``repetition_step`` after the last's; ``encodings``:
    (n_texts, n_repetitions * cells * width), zeroed.
    """
    text = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(cells, CELL_TILE)
    repetition = (tl.program_id(1) // tiles).to(tl.int64)
    own = (tl.program_id(1) % tiles) * CELL_TILE + tl.arange(0, CELL_TILE)
    columns = tl.program_id(2) * WIDTH_TILE + tl.arange(0, WIDTH_TILE)
    first = tl.load(starts + text)
    last = tl.load(starts + text + 1)
    sums = tl.zeros((CELL_TILE, WIDTH_TILE), tl.float32)
    counts = tl.zeros((CELL_TILE,), tl.int32)
    nearest = tl.full((CELL_TILE,), 1 << 62, tl.int64)
    owner = tl.zeros((CELL_TILE,), tl.int64)
    for token in range(first, last, TOKEN_TILE):
        rows = token + tl.arange(0, TOKEN_TILE)
        inside = rows < last
        cell = tl.load(numbers + rows * n_repetitions + repetition, mask=inside, other=-1)
        values = tl.load(
            projected
            + rows[:, None] * projected_stride
            + (repetition * repetition_step + columns)[None, :],
            mask=inside[:, None] & (columns < width)[None, :],
            other=0.0,
        )
        member = own[:, None] == cell[None, :]
        sums = tl.dot(member.to(tl.float32), values, sums, input_precision="ieee")
        counts += tl.sum(member.to(tl.int32), axis=1)
        if FILLED:
            differing = own[:, None] ^ cell[None, :]
            distance = tl.zeros((CELL_TILE, TOKEN_TILE), tl.int64)
            for bit in tl.static_range(BITS):
                distance += (differing >> bit) & 1
            tie = tl.load(ties + rows, mask=inside, other=0)
            keys = tl.where(inside[None, :], (distance << TIE_BITS) | tie[None, :], 1 << 62)
            best, place = tl.min(keys, axis=1, return_indices=True)
            owner = tl.where(best < nearest, token + place, owner)
            nearest = tl.minimum(nearest, best)
    sums = sums / tl.maximum(counts, 1).to(tl.float32)[:, None]
    if FILLED:
        empty = (counts == 0) & (nearest < (1 << 62)) & (own < cells)
        fill = tl.load(
            projected
            + owner[:, None] * projected_stride
            + (repetition * repetition_step + columns)[None, :],
            mask=empty[:, None] & (columns < width)[None, :],
            other=0.0,
        )
        sums = tl.where(empty[:, None], fill, sums)
    place = (text * n_repetitions + repetition) * cells + own
    tl.store(
        encodings + place[:, None] * width + columns[None, :],
        sums,
        mask=(own < cells)[:, None] & (columns < width)[None, :],
    )


def encode(
    fde: Fde, tokens: DeviceTokens, mean: Float32Array | None, *, filled: bool
) -> Float32Array:
    """See :mod:`cormorant.kernels.fde`."""
    n = tokens.n_documents
    encodings = np.zeros((n, fde.size), np.float32)
    cuts = tokens.starts.cpu().numpy()
    most = NUMBERS // max(fde.size, _step(fde) * fde.repetition_size)
    first = 0
    while first < n:
        last = int(np.searchsorted(cuts, cuts[first] + TOKENS, side="right")) - 1
        last = max(first + 1, min(last, first + most))
        encodings[first:last] = _batch(fde, tokens, mean, filled, first, last)
        first = last
    return encodings


def _batch(
    fde: Fde,
    tokens: DeviceTokens,
    mean: Float32Array | None,
    filled: bool,
    first: int,
    last: int,
) -> Float32Array:
    values, starts = _gathered(tokens, first, last)
    device = values.device
    if mean is not None:
        values = values - torch.from_numpy(mean).to(device)
    ties = _ties(fde, values) if filled else None
    if not bool(torch.isfinite(values).all()):
        raise InputError("a token holds a number that is not finite", field="tokens")
    final = torch.zeros((last - first, fde.size), dtype=torch.float64, device=device)
    step = _step(fde)
    for begin in range(0, fde.r_reps, step):
        repetitions = range(begin, min(fde.r_reps, begin + step))
        block = _blocks(fde, values, ties, starts, repetitions, filled)
        if fde.d_final is None:
            held: Float32Array = block.cpu().numpy()
            return held
        _project(fde, repetitions, block, final)
    projected: Float32Array = final.to(torch.float32).cpu().numpy()
    return projected


def _step(fde: Fde) -> int:
    """Repetitions that are made at a time."""
    if fde.d_final is None:
        return fde.r_reps
    at_once = max(1, _AT_ONCE // fde.repetition_size)
    return 1 if fde.final == "dense" else min(fde.r_reps, at_once)


def _gathered(tokens: DeviceTokens, first: int, last: int) -> tuple[Any, Any]:
    """The vectors that count of the documents first to last, float32, and where each begins."""
    begin, end = int(tokens.starts[first]), int(tokens.starts[last])
    values = tokens.vectors[begin:end].to(torch.float32)
    if tokens.scales is not None:
        values = values * tokens.scales[begin:end, None]
    starts = tokens.starts[first : last + 1] - begin
    if tokens.mask is not None:
        mask = tokens.mask[begin:end]
        before = torch.zeros(end - begin + 1, dtype=torch.int64, device=mask.device)
        torch.cumsum(mask, 0, out=before[1:])
        values, starts = values[mask], before[starts]
    return values.contiguous(), starts.contiguous()


def _ties(fde: Fde, values: Any) -> Any:
    """Each token's tie number: (n_tokens,) int64; products and sums are modulo 2^64."""
    factors = torch.from_numpy(np.array(tie_factors(fde))).to(values.device)
    totals = (values.view(torch.int32).to(torch.int64) * factors).sum(dim=1)
    return (totals >> (64 - TIE_BITS)) & ((1 << TIE_BITS) - 1)


def _blocks(
    fde: Fde,
    values: Any,
    ties: Any,
    starts: Any,
    repetitions: range,
    filled: bool,
) -> Any:
    """Some repetitions of the encodings before the final projection."""
    device, n = values.device, len(starts) - 1
    numbers = torch.zeros((len(values), len(repetitions)), dtype=torch.int32, device=device)
    wide = values.to(torch.float64)
    plan = plans.KEPT.plan(fde, repetitions.start, repetitions.stop)
    planes = plan.normals.astype(np.float64).reshape(fde.k_sim, len(repetitions), fde.dim)
    for column in range(len(repetitions)):
        normals = torch.from_numpy(planes[:, column].copy()).to(device)
        bits = (wide @ normals.T > 0).to(torch.int32)
        numbers[:, column] = (bits << torch.arange(fde.k_sim, device=device)).sum(dim=1)
    projected = values
    if fde.d_proj is not None:
        columns = unpacked_signs(plan.inner, len(repetitions) * fde.width, fde.dim) * plan.scale
        matrix = torch.from_numpy(columns.astype(np.float64)).to(device)
        projected = (wide @ matrix.T).float()
    shape = (n, len(repetitions) * fde.repetition_size)
    block = torch.zeros(shape, dtype=torch.float32, device=device)
    cell_tile = max(16, min(64, fde.cells))
    width_tile = 16 if fde.width <= 16 else 32
    grid = (
        n,
        len(repetitions) * triton.cdiv(fde.cells, cell_tile),
        triton.cdiv(fde.width, width_tile),
    )
    cells_kernel[grid](
        numbers,
        starts if ties is None else ties,
        projected,
        starts,
        block,
        len(repetitions),
        projected.shape[1],
        0 if fde.d_proj is None else fde.width,
        fde.width,
        fde.cells,
        FILLED=filled,
        BITS=fde.k_sim,
        TIE_BITS=TIE_BITS,
        CELL_TILE=cell_tile,
        TOKEN_TILE=TOKEN_TILE,
        WIDTH_TILE=width_tile,
    )
    return block


def _project(fde: Fde, repetitions: range, block: Any, final: Any) -> None:
    """Add some repetitions to the final encodings; no atomics, so every run adds alike."""
    device = block.device
    wide = block.to(torch.float64)
    if fde.final == "dense":
        for column, repetition in enumerate(repetitions):
            matrix = torch.from_numpy(dense_final(fde, repetition)).to(device, torch.float64)
            start = column * fde.repetition_size
            final += wide[:, start : start + fde.repetition_size] @ matrix.T
        return
    plan = plans.KEPT.plan(fde, repetitions.start, repetitions.stop)
    places, signs = plan.places, plan.signs
    order = np.argsort(places, kind="stable")
    counts = np.bincount(places, minlength=fde.size)
    begins = np.cumsum(counts) - counts
    for turn in range(int(counts.max(initial=0))):  # each place's first number, its second, ...
        having = np.flatnonzero(counts > turn)
        chosen = order[begins[having] + turn]
        signed = torch.from_numpy(signs[chosen].astype(np.float64)).to(device)
        to, source = (torch.from_numpy(a).to(device) for a in (having, chosen))
        final[:, to] += wide[:, source] * signed
