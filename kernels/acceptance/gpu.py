"""On a GPU: one program a row walks down its tree, reading the vocabulary a tile at a time.

A draw is one pass, and a trial a few, over one law: what is left of it, by then, is in the cache.
Two rows of the vocabulary are scratch memory for each program, for the law that is left and for a
sibling's own. Sums over the vocabulary are in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl

from ...contracts import Array, Int64Array
from . import RULES, Chosen

TILE = 1024


def accept(
    target: Any,
    laws: Any | None,
    tokens: Int64Array,
    parents: Int64Array,
    coins: Array,
    noise: Any,
    rule: str,
) -> Chosen:
    """See :mod:`cormorant.kernels.acceptance`."""
    import torch

    rows, steps, vocabulary = target.shape
    depths = noise.shape[1]
    found = torch.full((2, rows, depths), -1, dtype=torch.int64, device=target.device)
    if rows == 0:
        return Chosen(*found.cpu().numpy())
    target = target.contiguous()

    def placed(array: Array) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(target.device)

    if laws is None or steps == 1 or rule == "match":
        laws, lawful = target, placed(np.zeros_like(tokens))
    else:
        lawful = laws.any(dim=2).to(torch.int64)
        laws = laws.contiguous()
    scratch = torch.empty((rows, 2, vocabulary), dtype=torch.float32, device=target.device)
    accept_kernel[(rows,)](
        target,
        laws,
        lawful,
        placed(tokens),
        placed(parents),
        placed(coins),
        noise.contiguous(),
        scratch,
        found[0],
        found[1],
        steps,
        depths,
        vocabulary,
        RULE=RULES.index(rule),
        NODES=triton.next_power_of_2(steps),
        TILE=TILE,
    )
    return Chosen(*found.cpu().numpy())


@triton.jit
def _sum(values: tl.tensor, vocabulary: tl.tensor, TILE: tl.constexpr) -> tl.tensor:
    total = tl.zeros((TILE,), tl.float64)
    for start in range(0, vocabulary, TILE):
        places = start + tl.arange(0, TILE)
        total += tl.load(values + places, mask=places < vocabulary, other=0.0).to(tl.float64)
    return tl.sum(total, axis=0)


@triton.jit
def _copy(source: tl.tensor, goal: tl.tensor, vocabulary: tl.tensor, TILE: tl.constexpr) -> None:
    for start in range(0, vocabulary, TILE):
        places = start + tl.arange(0, TILE)
        inside = places < vocabulary
        tl.store(goal + places, tl.load(source + places, mask=inside, other=0.0), mask=inside)
    tl.debug_barrier()


@triton.jit
def _drawn(
    law: tl.tensor, noise: tl.tensor, vocabulary: tl.tensor, TILE: tl.constexpr
) -> tl.tensor:
    """Where log p + noise is largest of what a law allows: the lowest such place."""
    best = tl.max(tl.full((TILE,), float("-inf"), tl.float32), axis=0)
    token = (vocabulary * 0).to(tl.int64)
    for start in range(0, vocabulary, TILE):
        places = start + tl.arange(0, TILE)
        inside = places < vocabulary
        values = tl.load(law + places, mask=inside, other=0.0)
        moved = tl.load(noise + places, mask=inside, other=0.0)
        sums = tl.log(tl.where(values > 0, values, 1.0)) + moved
        sums = tl.where(values > 0, sums, float("-inf"))
        most = tl.max(sums, axis=0)
        first = tl.min(tl.where(sums == most, places, vocabulary), axis=0).to(tl.int64)
        token = tl.where(most > best, first, token)
        best = tl.maximum(most, best)
    return token


@triton.jit
def _residual(
    law: tl.tensor,
    own: tl.tensor,
    total: tl.tensor,
    mass: tl.tensor,
    vocabulary: tl.tensor,
    TILE: tl.constexpr,
) -> tl.tensor:
    """Leave in a law what a rejected one leaves of it; its new total."""
    for start in range(0, vocabulary, TILE):
        places = start + tl.arange(0, TILE)
        inside = places < vocabulary
        held = tl.load(law + places, mask=inside, other=0.0).to(tl.float64) / total
        taken = tl.load(own + places, mask=inside, other=0.0).to(tl.float64) / mass
        tl.store(own + places, tl.maximum(held - taken, 0.0).to(tl.float32), mask=inside)
    tl.debug_barrier()
    left = _sum(own, vocabulary, TILE)
    if left > 0:
        _copy(own, law, vocabulary, TILE)
    return tl.where(left > 0, left, total)


@triton.jit(do_not_specialize=["steps", "depths"])
def accept_kernel(
    target: tl.tensor,
    laws: tl.tensor,
    lawful: tl.tensor,
    tokens: tl.tensor,
    parents: tl.tensor,
    coins: tl.tensor,
    noise: tl.tensor,
    scratch: tl.tensor,
    chosen: tl.tensor,
    nodes: tl.tensor,
    steps: tl.tensor,
    depths: tl.tensor,
    vocabulary: tl.tensor,
    RULE: tl.constexpr,
    NODES: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """One row."""
    row = tl.program_id(0).to(tl.int64)
    n = steps - 1
    numbers = tl.arange(0, NODES)
    real = numbers < n
    drafted = tl.load(tokens + row * n + numbers, mask=real, other=0)
    above = tl.load(parents + row * n + numbers, mask=real, other=-2)
    drawn = tl.load(lawful + row * n + numbers, mask=real, other=0)
    law = scratch + row * 2 * vocabulary
    own = law + vocabulary
    node = row * 0 - 1
    alive = row * 0 + 1
    for depth in range(0, depths):
        if alive > 0:
            here = target + (row * steps + node + 1) * vocabulary
            moved = noise + (row * depths + depth) * vocabulary
            token = row * 0 - 1
            if RULE == 0:
                token = _drawn(here, moved, vocabulary, TILE)
            else:
                _copy(here, law, vocabulary, TILE)
                total = _sum(law, vocabulary, TILE)
                trials = (above == node) & (drawn != 0)
                if RULE == 1:
                    first = tl.min(tl.where(trials, numbers, NODES), axis=0)
                    trials = trials & (numbers == first)
                for child in range(0, n):
                    tried = tl.sum(tl.where(trials & (numbers == child), 1, 0), axis=0)
                    if (tried > 0) & (token < 0):
                        _copy(laws + (row * n + child) * vocabulary, own, vocabulary, TILE)
                        barred = trials & (numbers < child)
                        tl.store(own + drafted, tl.zeros((NODES,), tl.float32), mask=barred)
                        tl.debug_barrier()
                        mass = _sum(own, vocabulary, TILE)
                        wanted = tl.load(tokens + row * n + child)
                        coin = tl.load(coins + row * n + child)
                        q = tl.load(own + wanted).to(tl.float64)
                        p = tl.load(law + wanted).to(tl.float64)
                        if coin * q * total < p * mass:
                            token = wanted
                        else:
                            total = _residual(law, own, total, mass, vocabulary, TILE)
                if token < 0:
                    token = _drawn(law, moved, vocabulary, TILE)
            tl.store(chosen + row * depths + depth, token)
            same = (above == node) & (drafted == token)
            below = tl.min(tl.where(same, numbers, NODES), axis=0).to(tl.int64)
            if below < NODES:
                tl.store(nodes + row * depths + depth, below)
                node = below
            else:
                alive = row * 0
            tl.debug_barrier()
