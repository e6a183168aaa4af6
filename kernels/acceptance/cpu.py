"""The numba version: a law is read as often as it is needed, and only residuals are written."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from . import RULES, Chosen

Float64Array = NDArray[np.float64]


def accept(
    target: Any, laws: Any | None, tokens: Any, parents: Any, coins: Any, picks: Any, rule: str
) -> Chosen:
    """See :mod:`cormorant.kernels.acceptance`."""
    held = [np.ascontiguousarray(part) for part in (target, tokens, parents, coins, picks)]
    rows, steps, vocabulary = held[0].shape
    if laws is None or rule in ("greedy", "match"):
        drawn_from = np.zeros((rows, 0, vocabulary), np.float32)
    else:
        drawn_from = np.ascontiguousarray(laws)
    chosen = np.full((rows, steps), -1, np.int64)
    nodes = np.full((rows, steps), -1, np.int64)
    _accept(held[0], drawn_from, *held[1:], RULES.index(rule), chosen, nodes)
    if isinstance(target, np.ndarray):
        return Chosen(chosen, nodes)
    import torch

    return Chosen(torch.from_numpy(chosen), torch.from_numpy(nodes))


@numba.njit(cache=True, nogil=True)
def _accept(
    target: Float32Array,
    laws: Float32Array,
    tokens: Int64Array,
    parents: Int64Array,
    coins: Float64Array,
    picks: Float64Array,
    rule: int,
    chosen: Int64Array,
    nodes: Int64Array,
) -> None:
    rows, steps, vocabulary = target.shape
    law, own = np.empty(vocabulary), np.empty(vocabulary)
    tried = np.empty(steps, np.int64)
    for row in range(rows):
        node = -1
        for depth in range(steps):
            token, total, n_tried = -1, 0.0, 0
            for place in range(vocabulary):
                law[place] = target[row, node + 1, place]
                total += law[place]
            for child in range(laws.shape[1]):
                if parents[row, child] != node or (rule == 2 and n_tried == 1):
                    continue
                wanted, mass, left = tokens[row, child], 0.0, 0.0
                for place in range(vocabulary):
                    own[place] = laws[row, child, place]
                    mass += own[place]
                if mass == 0.0:
                    continue
                for other in tried[:n_tried]:
                    own[other] = 0.0
                mass = own.sum()
                if coins[row, child + 1] * own[wanted] * total < law[wanted] * mass:
                    token = wanted
                    break
                for place in range(vocabulary):
                    own[place] = max(law[place] / total - own[place] / mass, 0.0)
                    left += own[place]
                if left > 0.0:  # else p and q differ by rounding alone: p stands
                    law, own, total = own, law, left
                tried[n_tried] = wanted
                n_tried += 1
            if rule == 0:
                token = int(np.argmax(law))
            elif token < 0:
                goal, reached = picks[row, depth] * total, 0.0
                for place in range(vocabulary):
                    if law[place] > 0:
                        token = place
                        reached += law[place]
                        if reached > goal:
                            break
            chosen[row, depth] = token
            below = -1
            for child in range(steps - 1):
                if parents[row, child] == node and tokens[row, child] == token:
                    below = child
                    break
            if below < 0:
                break
            nodes[row, depth] = below
            node = below
