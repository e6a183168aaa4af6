"""Drawing the nodes of a tree: siblings without replacement, in a shape that is settled before.

Where drafts are drawn by a law and verified by it, which nodes are offered must not depend on what
was drawn: a node left out because its token turned out improbable was not drawn from its law any
more. So the shape of a drawn tree follows from the budget alone.
"""

from __future__ import annotations

import numpy as np

from ....contracts import Int64Array
from ..decoding.types import Budget, Float64Array


def widths(branching: tuple[int, ...], budget: Budget) -> list[int]:
    """Children of a node, level by level; 1 beyond ``branching``; as many levels as fit."""
    chosen: list[int] = []
    level, left = 1, budget.nodes
    while len(chosen) < budget.depth:
        wanted = branching[len(chosen)] if len(chosen) < len(branching) else 1
        width = min(wanted, left // level)
        if width < 1:
            break
        chosen.append(width)
        level *= width
        left -= level
    return chosen


def drawn(law: Float64Array, count: int, random: np.random.Generator | None) -> Int64Array:
    """The places of at most ``count`` siblings, in the order in which they are to be verified.

    ``law``: (n,) float64, probabilities. With a generator, siblings are drawn without replacement
    by the largest of log-probabilities with Gumbel noise (Kool et al., "Stochastic beams and where
    to find them", ICML 2019; "Recursive speculative decoding", 2402.14160); else the most probable,
    ties by the lower place. Never one of probability 0.
    """
    with np.errstate(divide="ignore"):
        keys = np.log(law)
    if random is not None:
        keys = keys + random.gumbel(size=len(law))
    count = min(count, int(np.count_nonzero(law > 0)))
    best = np.argpartition(-keys, count - 1)[:count] if count else np.zeros(0, np.int64)
    return best[np.lexsort((best, -keys[best]))]


def sharpened(law: Float64Array, temperature: float) -> Float64Array:
    """A law at a temperature: its powers, made to sum to 1 again; 0 leaves it as it is."""
    if temperature in (0.0, 1.0) or not law.any():
        return law
    powers = (law / law.max()) ** (1.0 / temperature)
    result: Float64Array = powers / powers.sum()
    return result
