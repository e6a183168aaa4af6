"""When a search may stop: candidates in the proxy's order, until nothing new came for long enough.

Exact MaxSim goes down the proxy's list. Of those scored so far the k best are known, and how far
down the list the last of them came in. Where the proxy is good for a query, all of them came early;
where it is not, they go on coming late. So a search stops at ``ceil(patience * deepest) + FLOOR``,
``deepest`` being the last one's place in the list, counted from 1: an easy query takes few
candidates and a hard one many, which no number of candidates fixed beforehand does.

The rule depends on scores alone: a query stops where it would stop in any batch, on any number of
threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heapreplace

import numpy as np

from ...contracts import Float32Array, Int64Array

FLOOR = 50
"""Candidates that are looked at in vain in any case: a first hit at place 1 says little."""
_BLOCK = 4096


def end_after(deepest: int, patience: float) -> int:
    """How far to go down the list when the last of the k best was this far down."""
    return math.ceil(patience * deepest) + FLOOR


def walked(
    scored: Callable[[int, int], Float32Array], known: Float32Array, n: int, k: int, patience: float
) -> Float32Array:
    """The exact scores of a list's beginning, as far as a search goes, n at most: (m,) float32.

    ``scored``: (from, to) -> exact scores of that part of the list. ``known``: those there already.
    """
    scores = known
    while True:
        deepest = int(entries(scores, k)[-1]) if len(scores) else k
        end = min(n, end_after(deepest, patience))
        if len(scores) >= end:
            return scores
        scores = np.concatenate([scores, scored(len(scores), end)])


def entries(scores: Float32Array, k: int) -> Int64Array:
    """The places in a list, from 1, at which a score came among the k best until then: ascending.

    The k first did. Of equal scores the earlier stays.
    """
    best = scores[:k].tolist()
    heapify(best)
    found = list(range(1, len(best) + 1))
    for first in range(k, len(scores), _BLOCK):
        block = scores[first : first + _BLOCK]
        for place in np.flatnonzero(block > best[0]).tolist():
            if block[place] > best[0]:
                heapreplace(best, float(block[place]))
                found.append(first + place + 1)
    return np.array(found, np.int64)
