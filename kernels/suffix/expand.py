"""The numba version of what followed: the best continuations first, from a small pool."""

from __future__ import annotations

import numba
import numpy as np

from ...contracts import Array, Int64Array
from .layout import States
from .words import Float64Array


@numba.njit(cache=True, nogil=True)
def _offer(pool: Array, worths: Float64Array, held: int, candidate: Array, worth: float) -> int:
    """Keep a candidate if it is among the best that there is room for; how many are held.

    The pool is in no order; rows: edge, parent, depth, context, place, number of the find.
    """
    if held < len(pool):
        at = held
        held += 1
    else:
        at = 0
        for other in range(1, held):
            if _better(pool, worths, at, other):
                at = other
        later = worths[at] == worth and pool[at, 4] >= candidate[4]
        if worths[at] > worth or later:
            return held
    pool[at] = candidate
    worths[at] = worth
    return held


@numba.njit(cache=True, nogil=True)
def _better(pool: Array, worths: Float64Array, one: int, other: int) -> bool:
    """Whether one candidate goes before another."""
    if worths[one] != worths[other]:
        return bool(worths[one] > worths[other])
    if pool[one, 4] != pool[other, 4]:
        return bool(pool[one, 4] > pool[other, 4])
    return bool(pool[one, 5] < pool[other, 5])


@numba.njit(cache=True, nogil=True)
def _children(states: States, state: int, width: int, by_count: bool) -> tuple[Int64Array, int]:
    """The best edges of a state, best first, and how often it is followed at all."""
    best = np.empty(width, np.int64)
    n, total = 0, 0
    edge = states.edges[state]
    while edge >= 0:
        target = states.targets[edge]
        total += states.counts[target]
        at = n if n < width else width
        while at > 0:
            other = states.targets[best[at - 1]]
            after = states.latest[target] < states.latest[other]
            if by_count and states.counts[target] != states.counts[other]:
                after = states.counts[target] < states.counts[other]
            if after:
                break
            if at < width:
                best[at] = best[at - 1]
            at -= 1
        if at < width:
            best[at] = edge
            n = min(n + 1, width)
        edge = states.following[edge]
    return best[:n], total


@numba.njit(cache=True, nogil=True)
def expand(
    states: States,
    state: int,
    length: int,
    nodes: int,
    depth: int,
    minimum: int,
    width: int,
    least_share: float,
    by_count: bool,
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array, Float64Array]:
    """See :mod:`cormorant.kernels.suffix`."""
    found = np.empty((nodes, 4), np.int64)
    shares, products = np.empty(nodes), np.empty(nodes)
    pool, worths = np.empty((nodes, 6), np.int64), np.empty(nodes)
    roots, candidate = np.empty(width, np.int64), np.empty(6, np.int64)
    held, taken, offered, at_root = 0, 0, 0, 0
    kept = width if by_count else 1
    # 1. What followed the match, and every shorter end of it that stands at more places.
    worth = 1.0
    while state > 0 and length >= minimum and at_root < width and nodes > 0 and depth > 0:
        edges, total = _children(states, state, kept, by_count)
        for edge in edges:
            token, target = states.tokens[edge], states.targets[edge]
            known = at_root == width
            for other in roots[:at_root]:
                known = known or other == token
            share = worth * (states.counts[target] / total if by_count else 1.0)
            share *= (length + 1) / (length + 2)
            if known or share < least_share:
                continue
            roots[at_root] = token
            at_root += 1
            candidate[0], candidate[1], candidate[2], candidate[3] = edge, -1, 1, length
            candidate[4], candidate[5] = states.latest[target], offered
            offered += 1
            held = _offer(pool, worths, held, candidate, share)
        worth /= 1.0 + states.counts[state]
        state = int(states.links[state])
        length = int(states.lengths[state])
    # 2. The best candidate is a node; its children are candidates.
    while taken < nodes and held > 0:
        best = 0
        for other in range(1, held):
            if _better(pool, worths, other, best):
                best = other
        edge, parent, level, context = pool[best, 0], pool[best, 1], pool[best, 2], pool[best, 3]
        product = worths[best]
        found[taken, 0], found[taken, 1] = states.tokens[edge], parent
        found[taken, 2], found[taken, 3] = pool[best, 4], context
        products[taken] = product
        shares[taken] = product / products[parent] if parent >= 0 else product
        taken += 1
        held -= 1
        pool[best], worths[best] = pool[held], worths[held]
        if level >= depth:
            continue
        agreed = product * (context + level + 1) / (context + level + 2)
        edges, total = _children(states, states.targets[edge], kept, by_count)
        for edge in edges:
            target = states.targets[edge]
            share = agreed * (states.counts[target] / total if by_count else 1.0)
            if share >= least_share:
                candidate[0], candidate[1], candidate[2] = edge, taken - 1, level + 1
                candidate[3], candidate[4] = context, states.latest[target]
                candidate[5] = offered
                offered += 1
                held = _offer(pool, worths, held, candidate, share)
    tree = found[:taken].T.copy()
    return tree[0], tree[1], tree[2], tree[3], shares[:taken]
